"""Model families: the sizes that `new:<size>` names, and the architectures that transformers lacks.

Every file here is a family and provides

    MEDIA                       tuple of "image", "text", "sound": which tasks it fits
    SIZES                       {size as written after `new:`: what it sets in the config}, small to large; no two
                                families share a size
    config(size, facts)         the config of a fresh model; KeyError for a size that SIZES lacks

A family of texts that lets choose where its positions come from says so by

    POSITIONS                   {"learned", "sinusoidal", "rotary" or "nope" (none): what config makes of it}, its usual kind first

`facts` tells what the data are: of images `image_size` (height, width) and `channels`; of sounds the same of their log-mel, an
image (frames, mel bins) of one channel; of texts `vocab_size`, `max_length`, the numbers of marks `pad_token_id`, `cls_token_id`,
`eos_token_id`, and the chosen kind of `positions`. A family ignores facts it does not read; labels are written into its config
by engine/create.py. Which tasks a size can do is what transformers has its architecture for.

A family that transformers lacks has the `model_type` "penjing_<file name>" and provides as well

    register()                  makes the Auto classes know it, and `save_pretrained` write its code file beside the
                                weights; may be called again; importing the file alone changes nothing
    channel_groups(model)       what one channel is made of: keyword arguments of `core.contracts.ChannelGroup`, as a
                                list. Slicing the same channels out of all the tensors of a group and lowering its
                                config entry gives a model that loads strictly

Its model classes return the output of transformers with `logits` and without a loss, which is the task's. The file
becomes part of every directory saved from it, so it imports nothing but torch, transformers and the standard library.
"""
