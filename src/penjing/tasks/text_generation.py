"""Text that goes on: a language model, which tells each token from those before; stories, code, chat, instructions.

Data     column `text`, and `before` it what it goes on from; or `prompt` and `completion`; or `messages`, lists of {role, content}
Metric   accuracy of the next token (primary), perplexity for each token, bits_per_byte
Explain  log probability of the tokens that are told, or of one of them; of a chat those of all messages of the assistant

A prompt, what stands before, and all messages but those of the assistant are read and not learnt from. A text longer than the model's
window is read in windows that overlap by half, so that a token is told from half a window at least. A prompt that is asked is continued; of
one that leaves too little room the beginning is not read.

Source   Radford et al. 2019, "Language models are unsupervised multitask learners"; windows: Baevski, Auli 2019, section 5.3
"""

from collections.abc import Iterator

from jinja2 import TemplateError
from transformers import AutoModelForCausalLM

from penjing.core.contracts import Prediction
from penjing.core.errors import DataError, ModelError
from penjing.tasks._language import INPUTS, NONE, SIZE, TOKENS, Language, begin_of, end_of, ids_of

OVERLAP = 2  # of so many parts of a window its neighbour has one too
ROOM = 4  # of so many parts of a window one is left for the answer to a prompt


class TextGeneration(Language):
    auto_model, generates = AutoModelForCausalLM, True
    usable = "a column text; or prompt and completion; or messages, of which one is the assistant's"
    question = '[(processor.bos_token or processor.eos_token) + "Any text."]', ", add_special_tokens=False"
    answer = "print(processor.batch_decode(logits[:, -1].argmax(-1)))  # the next token"

    @classmethod
    def adapt(cls, examples):
        there = examples.columns
        if "text" in there:
            return examples, {}
        if "messages" in there:
            chats = [messages or [] for messages in examples.column("messages")]
            silent = [row for row, messages in enumerate(chats) if not any(map(_answers, messages))]
            written = ["".join(f"{m['role']}: {m['content']}\n" for m in messages) for messages in chats]
            return examples.with_column("text", written, str), {
                row: f"{examples.place(row)}: no message is the assistant's" for row in silent
            }
        return examples.rename({"completion" if "completion" in there else "prompt": "text"}) if "prompt" in there else examples, {}

    @classmethod
    def told_apart_by(cls, examples):
        return [name for name in ("prompt", "text") if name in examples.columns]

    def row_of(self, text):
        return {"prompt": text}

    def asked(self, example):
        if "messages" in example:
            return {"messages": example["messages"]}
        return {"prompt": example["prompt"] if "prompt" in example else example["text"]}

    def texts(self, example):
        return [example.get("prompt", "") + example["text"]]

    def encode(self, example, tokenizer):
        window = tokenizer.model_max_length
        if "text" not in example:
            prompt = prompt_of(example["messages"], tokenizer) if "messages" in example else example["prompt"]
            ids = [*begin_of(tokenizer), *ids_of(prompt, tokenizer)]
            return {INPUTS: ids[-max(1, window - window // ROOM) :]}
        ids, told = [], []
        for text, counts in _parts(example, tokenizer, window):
            ids += text
            told += [counts] * len(text)
        unknown = tokenizer.unk_token_id in [token for token, counts in zip(ids, told) if counts]
        return list(_windows(ids, told, window, 0 if unknown else _size(example)))

    def predict(self, model, batch, processor):
        if batch.targets:
            return super().predict(model, batch, processor)
        return [Prediction(text) for text in model.generate(batch, processor)]

    def read_texts(self, example):
        messages = {f"{number} {message['role']}": message["content"] for number, message in enumerate(example.get("messages", []), 1)}
        return messages or {name: example[name] for name in ("prompt", "text") if name in example}

    def answered(self, example, value):
        if "messages" in example:
            return {"messages": [*example["messages"], {"role": "assistant", "content": value}], "text": value}
        return {"prompt": example["prompt"], "text": value}

    def details(self, value, example):
        return {"told": value.replace("\n", " ⏎ ")} if isinstance(value, str) else {}

    def stream(self, examples, processor):
        found = processor([text for example in examples for text in self.texts(example)], add_special_tokens=False, verbose=False)[INPUTS]
        return [ids + ([] if "before" in example else [end_of(processor)]) for ids, example in zip(found, examples)]

    def block(self, tokens, processor, draw):
        return {INPUTS: tokens[:-1].tolist(), TOKENS: tokens[1:].tolist()}


def _parts(example, tokenizer, window) -> Iterator[tuple[list[int], bool]]:
    """The tokens of a row in their order, each with whether they are told."""
    if "messages" in example:
        for text, counts in _turns(example["messages"], tokenizer):
            yield ids_of(text, tokenizer), counts
    elif "before" in example:
        yield ids_of(example["before"], tokenizer)[-(window // OVERLAP) :] or begin_of(tokenizer), False
        yield ids_of(example["text"], tokenizer), True
    else:
        yield [*begin_of(tokenizer), *ids_of(example.get("prompt", ""), tokenizer)], False
        yield [*ids_of(example["text"], tokenizer), end_of(tokenizer)], True


def _size(example) -> int:
    """Bytes of the text that is told."""
    told = [m["content"] for m in example["messages"] if _answers(m)] if "messages" in example else [example["text"]]
    return sum(len(text.encode()) for text in told)


def _windows(ids: list[int], told: list[bool], window: int, size: int) -> Iterator[dict]:
    """Entries of at most `window` tokens, each of which tells what those before it have not; windows that tell nothing are left out."""
    start, done, tokens = 0, 1, [token if counts else NONE for token, counts in zip(ids, told)]
    while done < len(ids):
        end = min(start + window, len(ids) - 1)  # of what is seen; the token at it is told too
        labels = [NONE] * (done - start - 1) + tokens[done : end + 1]
        if any(told[done : end + 1]):
            yield {INPUTS: ids[start:end], TOKENS: labels, SIZE: size}
            size = 0
        done, start = end + 1, max(start + 1, end + 1 - window // OVERLAP)


def _turns(messages, tokenizer) -> Iterator[tuple[str, bool]]:
    """A chat as its template writes it, cut where the assistant begins and ends."""
    done = ""
    for number, message in enumerate(messages):
        if _answers(message):
            prompt, whole = prompt_of(messages[:number], tokenizer), _written(messages[: number + 1], tokenizer)
            if not (prompt.startswith(done) and whole.startswith(prompt)):
                raise ModelError(
                    "the chat template of this model writes earlier messages otherwise once there are later ones",
                    wanted="a template to whose text a message only adds",
                    fix="give rows with prompt and completion",
                )
            yield prompt[len(done) :], False
            yield whole[len(prompt) :], True
            done = whole


def _answers(message) -> bool:
    return message["role"] == "assistant"


def prompt_of(messages, tokenizer) -> str:
    """A chat as the text that the assistant goes on with.

    Raises ModelError for a tokenizer without a template, and DataError for a chat that its template refuses.
    """
    return _written(messages, tokenizer, add_generation_prompt=True)


def _written(messages, tokenizer, **more) -> str:
    if not tokenizer.chat_template:
        raise ModelError(
            "this model has no chat template, by which messages become text",
            wanted="chat_template.jinja beside its tokenizer",
            fix="give rows with prompt and completion",
        )
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, **more)
    except TemplateError as error:  # by which templates refuse roles that they do not know, or in another order
        raise DataError(f"the model's chat template refuses: {error}", wanted="a chat as this model's template has it") from None


TASK = TextGeneration
