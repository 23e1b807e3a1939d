"""The page in a browser: what people do there, by mouse, by pen and by keyboard, and what they see and hear of it."""

import contextlib
import math
import re
import shutil
import socket
import threading

import numpy
import PIL.Image
import pytest
import uvicorn

import penjing
from penjing.core.find import find, names
from penjing.engine import create, load
from penjing.serve.app import create_app

pytestmark = pytest.mark.slow
sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install 'penjing[test]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("no Chromium here: apt-get install chromium", allow_module_level=True)

SEVEN = [(0.25, 0.12), (0.75, 0.12), (0.6, 0.45), (0.45, 0.92)]
PHONE = {"width": 360, "height": 740}


@contextlib.contextmanager
def serving(models, runtime, **words):
    """The address of a server in a thread of this process."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app(models, runtime=runtime, log="none", **words), log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def digits(tmp_path_factory, runtime):
    """A network that has learnt the digits, and a smaller one for ONNX Runtime."""
    folder = tmp_path_factory.mktemp("digits")
    words = {"task": "image-classification", "epochs": 12, "learning_rate": 3e-3, "batch_rows": 64, "runtime": runtime}
    penjing.finetune("new:resnet-tiny", "sklearn:digits", out=folder / "digits", **words)
    penjing.quantize(folder / "digits", "sklearn:digits", out=folder / "digits-small", engine="onnxruntime", runtime=runtime)
    return [folder / "digits-small", folder / "digits"]


@pytest.fixture(scope="module")
def address(digits, text_parent, runtime):
    with serving([*digits, text_parent], runtime) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, address):
    """Open the page in a new window; what a script or the policy complains about fails the test."""
    with contextlib.ExitStack() as stack:
        complaints = []

        def open_page(at=address, replies=None, **words):
            context = stack.enter_context(contextlib.closing(browser.new_context(**{"locale": "en-US", **words})))
            context.set_default_timeout(20_000)
            page = context.new_page()
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: "Content Security" in said.text and complaints.append(said.text))
            if replies:
                page.route("**/v1/**", replies)
            page.goto(at)
            return page

        yield open_page
        assert not complaints


def ready(page):
    page.locator("#card").wait_for()
    return page


def chosen(page, name, beside=""):
    page.locator("#model").select_option(name)
    ready(page)
    if page.locator("#second").is_visible():
        page.locator("#beside").select_option(beside)
    page.locator(f"#facts:has-text('{'image' if 'digits' in name else 'text'}')").wait_for()
    return page


def draw(page, points):
    box = page.locator("canvas.pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()


def answers(page, count=1):
    page.locator("#answers article").nth(count - 1).wait_for()
    return [page.locator("#answers article .answer").nth(i).inner_text() for i in range(count)]


def shares(page):
    return [float(text.rstrip("%")) for text in page.locator("#answers article").first.locator(".bars .n").all_inner_texts()]


def test_a_text_is_answered_with_its_probabilities(opened, text_parent, runtime):
    page = chosen(ready(opened()), "text")
    page.get_by_role("textbox", name="Text").fill("the room was lovely")
    page.get_by_role("button", name="Ask").click()
    (expected,) = penjing.predict(text_parent, ["the room was lovely"], runtime=runtime)
    assert answers(page) == [expected["value"]]
    assert shares(page)[0] == pytest.approx(100 * expected["score"], abs=0.1) and sum(shares(page)) == pytest.approx(100, abs=0.2)


def test_a_digit_is_drawn_and_both_models_answer_side_by_side(opened):
    page = ready(opened())
    draw(page, SEVEN)
    assert answers(page, 2) == ["7", "7"]
    assert sum(shares(page)) == pytest.approx(100, abs=0.6)
    draw(page, [(0.3, 0.5), (0.7, 0.5)])
    page.locator("#log tbody tr").nth(1).wait_for()
    assert "2 of 2 answers agree." in page.locator("#agreement").inner_text()
    assert "They agree." in page.locator("#said").inner_text()


def test_what_is_sent_of_a_drawing_is_as_large_as_the_model_reads_it(opened):
    page = ready(opened())
    sent = []
    page.on("request", lambda request: request.post_data and sent.append(request.post_data_json))
    draw(page, SEVEN)
    answers(page, 2)
    size = page.locator("canvas.small").evaluate("canvas => [canvas.width, canvas.height]")
    drawn = page.locator("canvas.small").evaluate("canvas => canvas.toDataURL()")
    assert size == [8, 8] and sent[0]["inputs"] == [drawn]


def test_an_image_that_is_chosen_is_answered_as_penjing_predict_answers_it(opened, digits, runtime, tmp_path):
    ramp = numpy.hypot(*numpy.mgrid[-8:8, -8:8]) * 20
    PIL.Image.fromarray(ramp.astype(numpy.uint8)).save(tmp_path / "a.png")
    page = ready(opened())
    page.get_by_label("Choose an image").set_input_files(tmp_path / "a.png")
    expected = [penjing.predict(model, str(tmp_path / "a.png"), runtime=runtime)[0]["value"] for model in digits]
    assert answers(page, 2) == expected


def test_errors_stand_there_as_the_server_words_them(opened, address, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image at all")
    page = ready(opened())
    page.get_by_label("Choose an image").set_input_files(tmp_path / "a.png")
    page.get_by_role("alert").get_by_text("inputs[0]: damaged image").wait_for()
    assert "Wanted: a complete image" in page.get_by_role("alert").inner_text()


def test_everything_can_be_done_by_keyboard(opened):
    page = ready(opened())
    page.locator("#model").focus()
    for _ in range(2):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "pad"
    for key in ["ArrowUp"] * 6 + [" "] + ["ArrowDown"] * 12 + [" "]:
        page.keyboard.press(key)
    assert answers(page, 2) == ["1", "1"]
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # clears
    assert not page.locator("canvas.small").evaluate(
        "canvas => canvas.getContext('2d').getImageData(0, 0, 8, 8).data.some((x, i) => i % 4 < 3 && x)"
    )
    chosen(page, "text")
    page.get_by_role("textbox", name="Text").focus()
    page.keyboard.type("the room was dull")
    page.keyboard.press("Control+Enter")
    page.locator("#said:has-text('text: bad.')").wait_for()


def test_a_phone_shows_all_of_it_without_sideways_scrolling_in_both_languages_light_and_dark(opened):
    papers = set()
    for language, name, scheme in (("en-GB", "Ask", "light"), ("zh-CN", "提问", "dark")):
        page = ready(opened(viewport=PHONE, locale=language, color_scheme=scheme))
        draw(page, SEVEN)
        answers(page, 2)
        page.locator("summary").click()
        page.locator("#tries").wait_for(state="attached")
        assert page.get_by_role("button", name=name, exact=True).is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.locator("#language").click()
        assert page.locator("h1").inner_text() == ("Ask a model" if language == "zh-CN" else "问问模型")
        assert page.evaluate("document.documentElement.lang") == ("en" if language == "zh-CN" else "zh-CN")
    assert len(papers) == 2


def test_each_control_has_a_name_and_each_text_a_translation(opened):
    page = ready(opened(locale="zh-CN"))
    draw(page, SEVEN)
    answers(page, 2)
    controls = page.locator("button:visible, select:visible, input:visible, canvas:visible, summary:visible")
    for control in controls.all():
        named = control.evaluate("node => node.ariaLabel || node.labels?.[0]?.textContent || node.textContent")
        assert named.strip()
    assert page.evaluate("[...document.querySelectorAll('[data-t]')].map((node) => node.dataset.t).filter((text) => !CHINESE[text])") == []


def test_a_server_that_wants_a_token_asks_for_it_and_keeps_it_for_the_window(opened, text_parent, runtime, tmp_path):
    (tmp_path / "tokens").write_text("a-token-of-enough-letters\n")
    with serving([text_parent], runtime, token_file=tmp_path / "tokens") as address:
        page = opened(address)
        page.get_by_role("alert").get_by_text("no token").wait_for()
        page.get_by_label("Token").fill("a-token-of-enough-letters")
        page.keyboard.press("Enter")
        ready(page)
        page.reload()
        ready(page)
        page.get_by_role("textbox", name="Text").fill("the room was lovely")
        page.keyboard.press("Control+Enter")
        assert answers(page) == ["good"]


def told(task, columns, **more):
    """A model as the server tells of it."""
    return {
        "id": task, "task": task, "media": "text", "engine": "torch fp32", "bytes": 1234, "columns": {column: {} for column in columns},
        "labels": [], "generates": False, "embeds": False, "explains": [], "chat": False, **more,
    }  # fmt: skip


def replies(model, prediction):
    """What stands in the place of a server of one model."""

    def reply(route):
        found = {"data": [model]}
        if route.request.method == "POST":
            found = {"ms": 1, "predictions": prediction(route.request.post_data_json["inputs"])}
        elif not route.request.url.endswith("/v1/models"):
            found = {"summary": "", "report": {"facts": {}}} if route.request.url.endswith("card") else model
        route.fulfill(json=found)

    return reply


def test_the_answer_to_a_question_is_marked_in_its_passage(opened):
    passage = "A tree 🌳 of Ada Lin's, kept small."
    start = passage.index("Ada")
    said = {"value": {"text": "Ada Lin", "start": start, "end": start + 7}, "score": 0.9, "told": "Ada Lin"}
    page = ready(opened(replies=replies(told("question-answering", ["question", "context"]), lambda rows: [said])))
    page.get_by_role("textbox", name="Question").fill("Whose tree?")
    page.get_by_role("textbox", name="Context").fill(passage)
    page.get_by_role("button", name="Ask").click()
    assert answers(page) == ["Ada Lin"] and page.locator("mark").all_inner_texts() == ["Ada Lin"]
    assert page.locator(".why").inner_text() == passage


def test_entities_and_tags_are_marked_in_the_text(opened):
    words = ["She", "met", "Ada", "Lin", "."]
    tags = {"value": ["PRON", "VERB", "PROPN", "PROPN", "PUNCT"], "told": "She/PRON ...", "words": words}
    found = [{"label": "PER", "start": 8, "end": 15, "text": "Ada Lin"}]
    entities = {"value": ["O", "O", "B-PER", "I-PER", "O"], "told": "Ada Lin: PER", "words": words, "entities": found}
    for answer, marked in ((tags, ["ShePRON", "metVERB", "AdaPROPN", "LinPROPN", ".PUNCT"]), (entities, ["Ada LinPER"])):
        page = ready(opened(replies=replies(told("token-classification", ["tokens"]), lambda rows, answer=answer: [answer])))
        page.get_by_role("textbox", name="Text").fill("She met Ada Lin.")
        page.get_by_role("button", name="Ask").click()
        page.locator("mark").first.wait_for()
        assert page.locator("mark").all_inner_texts() == marked


def test_vectors_are_told_by_what_is_nearest_to_the_first_text(opened):
    def vectors(rows):
        return [{"value": [math.cos(angle), 3 * math.sin(angle)], "told": "2 numbers"} for angle in (0, 1, 0.1)[: len(rows)]]

    page = ready(opened(replies=replies(told("feature-extraction", ["sentence1"], embeds=True), vectors)))
    page.get_by_role("textbox", name="One text a line").fill("first\nfar\n\nnear")
    page.get_by_role("button", name="Ask").click()
    assert answers(page) == ["near"]
    cosines = [math.cos(a) / math.hypot(math.cos(a), 3 * math.sin(a)) for a in (0.1, 1)]
    assert [float(text) for text in page.locator(".bars .n").all_inner_texts()] == pytest.approx(cosines, abs=0.005)


def test_what_speaks_for_an_answer_is_marked_in_its_words_and_listed(opened, text_parent, runtime):
    text = "🌳 the room was lovely"
    (why,) = penjing.explain(text_parent, text, method="occlusion", runtime=runtime)
    page = chosen(ready(opened()), "text")
    page.get_by_role("textbox", name="Text").fill(text)
    page.get_by_role("button", name="Ask").click()
    page.get_by_label("How it is found out").select_option("occlusion")
    page.get_by_role("button", name="Why?").click()
    page.locator(".why").wait_for()
    assert page.locator(".why").inner_text() == text
    best = max(why["units"], key=lambda unit: unit["score"])["text"]
    assert best in page.locator(".why .for").all_inner_texts() and best in page.locator("#said").inner_text()


def test_what_speaks_for_a_digit_is_laid_over_it_for_either_model(opened):
    page = ready(opened())
    draw(page, SEVEN)
    answers(page, 2)
    page.get_by_role("button", name="Why?").click()
    page.locator("#answers article:nth-child(2) svg").wait_for()
    for i in range(2):
        picture = page.locator("#answers svg").nth(i)
        assert picture.locator("image").count() == 1 and 1 <= picture.locator("ellipse").count() <= 64


@pytest.mark.skipif("openai" not in names("serve.routes"), reason="this server has no routes that stream")
def test_a_text_is_shown_while_it_is_written_and_can_be_stopped(opened, runtime, tmp_path):
    lines = [{"text": f"The old dog sings in garden {number}."} for number in range(99)]
    writer = create.create("gpt-tiny", find("tasks", "text-generation").TASK(), lines, runtime)
    writer.model.generation_config.update(do_sample=False, temperature=None, top_p=None, eos_token_id=None)
    load.save(writer, tmp_path / "writer")
    with serving([tmp_path / "writer"], runtime) as address:
        page = ready(opened(address))
        page.get_by_label("Most tokens").fill("5")
        page.get_by_role("textbox", name="Message").fill("The old dog")
        page.keyboard.press("Control+Enter")
        page.get_by_text("tokens a second").wait_for()
        page.get_by_label("Most tokens").fill("4000")
        page.get_by_role("textbox", name="Message").fill("And then?")
        page.keyboard.press("Control+Enter")
        page.locator(".writing", has_text=re.compile(r"\S")).wait_for()
        page.get_by_role("button", name="Stop").click()
        page.locator("#answers article:not([aria-busy])").wait_for()
        assert page.locator(".turn").count() == 3 and page.locator(".answer").inner_text()
        page.get_by_role("button", name="New chat").click()
        assert page.locator("#answers article").count() == 0
