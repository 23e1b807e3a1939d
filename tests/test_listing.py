"""What `penjing tasks`, `families` and `methods` list, for people and for programs."""

import json

from penjing import cli, listing
from penjing.core import find


def test_every_size_has_its_media_and_as_many_parameters_as_its_layers_add_up_to(capsys):
    """By hand for new:bert-tiny with 8,000 pieces and 256 positions, two blocks of 128, feed-forward 512; and for new:cnn-tiny."""
    assert cli.main(["families", "--json"]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert found.keys() == set(find.names("families")) and found["bert"]["media"] == ["text"]
    counts = {size["name"]: size["parameters"] for each in found.values() for size in each["sizes"]}
    hidden, norm = 128, 2 * 128
    block = 4 * (hidden * hidden + hidden) + (hidden * 512 + 512) + (512 * hidden + hidden) + 2 * norm
    pooler, head = hidden * hidden + hidden, 2 * hidden + 2
    assert counts["new:bert-tiny"] == (8000 + 256 + 2) * hidden + norm + 2 * block + pooler + head
    convolutions = sum(9 * before * after + 2 * after for before, after in ((1, 8), (8, 16), (16, 32)))  # each with its batch norm
    assert counts["new:cnn-tiny"] == convolutions + 4 * 4 * 32 * 2 + 2  # 28 pixels, halved three times
    assert listing.told_families(list(found.values())).count("new:") == len(counts)


def test_tasks_and_methods_are_listed_with_their_first_line(capsys):
    assert cli.main(["tasks", "--json"]) == 0
    tasks = json.loads(capsys.readouterr().out)
    assert {"name": "image-classification", "about": find.summary("tasks", "image-classification")} in tasks
    assert cli.main(["methods", "--json"]) == 0
    methods = json.loads(capsys.readouterr().out)
    assert {"stage": "prune", "name": "layers", "about": find.summary("methods.prune", "layers")} in methods
    assert cli.main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("prune --method layers ") for line in lines)
    assert any(line.startswith("--augment crop ") for line in lines)


def test_one_name_tells_all_of_it(capsys):
    assert cli.main(["tasks", "translation"]) == 0
    assert capsys.readouterr().out.strip() == find.find("tasks", "translation").__doc__.strip()
    assert cli.main(["methods", "int8"]) == 0
    assert find.summary("methods.quantize", "int8") in capsys.readouterr().out
    assert cli.main(["methods", "int9"]) == 2
    said = capsys.readouterr().err
    assert "no 'int9' among the methods" in said and "'int8'" in said and "penjing methods lists them" in said
