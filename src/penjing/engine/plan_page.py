"""A plan as one page in English and 中文: memory of a rank by part, time and cost against the number of accelerators.

Both languages stand in the page and a switch of CSS alone shows one of them, because the page allows no script.
"""

from collections.abc import Sequence
from html import escape
from typing import Any, Literal

from penjing.core.report import Report
from penjing.engine import markup, page, plots, words

Language = Literal["en", "zh"]
Plans = Sequence[tuple[int, dict[str, Any]]]
"""(ranks, facts) of the same plan on other numbers of devices, few ranks first."""

PARTS = {  # of memory -> role of its colour
    "weights": "parent", "gradients": "baseline", "optimizer": "child", "gathered": "failed", "cache": "child", "activations": "muted",
    "working": "ink",
}  # fmt: skip
_BAND = "The band is the interval that graded runs give; it is wider above where no graded run sends as much."
_POINT = "Each point is a plan of its own: the layout is searched for so many accelerators, the rows of a step stay."
_LANGUAGES: tuple[Language, ...] = ("en", "zh")
_SWITCH = (
    "<style>body:not(:has(#zh:checked)) .zh, body:has(#zh:checked) .en { display: none; }\n"
    "article + article { margin: 0; border: 0; } .zh thead th { word-break: keep-all; }</style>\n"
    '<p class="kicker"><label><input type="radio" name="language" id="en" checked> English</label> '
    '<label lang="zh"><input type="radio" name="language" id="zh"> 中文</label></p>\n'
)
_CHINESE = {
    "weights": "权重",
    "gradients": "梯度",
    "optimizer": "优化器状态",
    "gathered": "聚集的分片",
    "cache": "键值缓存",
    "activations": "激活",
    "working": "临时工作区",
    "memory of a rank": "每个设备的显存",
    "memory": "显存",
    "time": "时间",
    "time of a step": "每步时间",
    "cost": "费用",
    "energy": "能耗",
    "tokens a second": "每秒词元数",
    "accelerators": "加速器数量",
    "days": "天",
    "hours": "小时",
    "s": "秒",
    "min": "分",
    "USD": "美元",
    "usable": "可用",
    "fits": "装得下",
    "does not fit": "装不下",
    "layout": "并行布局",
    "part": "部分",
    "share": "占比",
    "bytes": "大小",
    "Memory": "显存",
    "Time and cost": "时间与费用",
    "Speed": "速度",
    "What was planned": "计划内容",
    "to": "至",
    "launch": "启动命令",
    "data": "数据",
    "tensor": "张量",
    "pipeline": "流水线",
    "context": "上下文",
    "expert": "专家",
    "stage": "阶段",
    "model": "模型",
    "parameters": "参数量",
    "hardware": "硬件",
    "rows of a step": "每步样本数",
    "rows": "样本数",
    "tokens of a row": "每个样本的词元数",
    "tokens in all": "词元总数",
    "sent by a rank in a step": "每个设备每步发送",
    "pipeline waits": "流水线空闲",
    "at most": "至多",
    "80 % interval": "80% 区间",
    "pretrain": "预训练",
    "finetune": "微调",
    "serve": "推理服务",
    "computed again": "重计算",
    "none": "无",
    "full": "全部",
    "operations": "部分算子",
    "shared out": "分片的状态",
    "Each bar is the fullest rank; the dashed line is what can be used of a device.": "每一条是占用最多的设备；虚线是一个设备可用的显存。",
    _BAND: "色带是由真实训练记录得出的区间；当通信量超出所有记录时，上端更宽。",
    _POINT: "每个点都是单独的计划：按该数量的加速器搜索布局，每步样本数不变。",
    "kWh": "kWh",
}


def page_of(report: Report, others: Plans) -> str:
    """The whole page of a plan.

    others   the same plan on other numbers of devices, its own among them; those that cannot be are missing
    """
    title = f"{report.model['path']} · {_where(report.facts['ranks'], report)}"
    body = "".join(
        f'<article class="{language}" lang="{language}">\n{_article(report, others, language)}</article>\n' for language in ("en", "zh")
    )
    return page.document(title, ["plan", str(report.options["stage"])], _SWITCH, body, "Written by penjing. No weights were touched.")


def _say(word: str, language: Language) -> str:
    return _CHINESE[word] if language == "zh" else word


def _where(ranks: int, report: Report) -> str:
    return f"{ranks:,} × {report.facts['device']['name']}"


def _article(report: Report, others: Plans, language: Language) -> str:
    notes = "".join(f'<li lang="en">{markup.prose(note)}</li>' for note in report.notes)
    mind = f'<aside class="mind"><ul>{notes}</ul></aside>\n' if notes else ""
    heading = "Time and cost" if "step_s" in report.facts else "Speed"
    return "".join([
        _numbers(report, language), mind,
        markup.section(2, _say("Memory", language), _memory(report, others, language)),
        markup.section(2, _say(heading, language), _against(others, language), _table(report, others, language)),
        markup.section(2, _say("What was planned", language), _planned(report, language)),
    ])  # fmt: skip


def _numbers(report: Report, language: Language) -> str:
    facts, cells = report.facts, list[tuple[str, str, str, str]]()
    memory, room = (words.amount("bytes", size) for size in (facts["memory_bytes"]["total"], facts["room_bytes"]))
    fits = _say("fits" if facts["fits"] else "does not fit", language)
    of = "memory of a rank" if "layout" in facts else "memory"
    number, _, unit = memory.partition(" ")
    cells.append((of, number, unit, f"{_say('usable', language)} {room}: {fits}"))
    if "step_s" in facts:
        whole = _whole(facts)
        unit, size = _unit(whole)
        low, high = (words.three_digits(whole / facts["step_s"] * facts[end] / size) for end in ("low_s", "high_s"))
        between = f"{_say('80 % interval', language)}: {low} {_say('to', language)} {high}"
        name = "time" if "seconds" in facts else "time of a step"
        cells.append((name, words.three_digits(whole / size), _say(unit, language), between))
    elif "tokens_a_second" in facts:
        cells.append(("tokens a second", f"{facts['tokens_a_second']:,.0f}", "", _say("at most", language)))
    for name, key, unit in (("cost", "usd", "USD"), ("energy", "kwh", "kWh")):
        if facts.get(key):
            cells.append((name, f"{facts[key]:,.0f}", _say(unit, language), ""))
    body = "".join(
        f'<div><dt>{escape(_say(name, language))}</dt><dd><div class="big">{escape(big)}<span class="unit">{escape(unit)}</span></div>'
        f'<div class="small">{markup.prose(small)}</div></dd></div>\n'
        for name, big, unit, small in cells
    )
    return f'<dl class="numbers">\n{body}</dl>\n'


def _memory(report: Report, others: Plans, language: Language) -> str:
    memory = report.facts["memory_bytes"]
    parts = [name for name in PARTS if any(facts["memory_bytes"].get(name) for _, facts in others)]
    bars = [(f"{ranks:,}", [(PARTS[name], facts["memory_bytes"].get(name, 0.0)) for name in parts]) for ranks, facts in others]
    room = others[0][1]["room_bytes"] if "layout" in report.facts else None
    counted, usable, alt = (_say(word, language) for word in ("accelerators", "usable", "memory of a rank"))
    drawn = plots.stacks(bars, room, counted, usable, name=f"memory-{language}", alt=alt)
    legend = markup.legend([(PARTS[name], "■", _say(name, language)) for name in parts])
    caption = _say("Each bar is the fullest rank; the dashed line is what can be used of a device.", language) if room else ""
    rows = [
        [_say(name, language), words.amount("bytes", memory[name]), words.share(memory[name] / memory["total"])]
        for name in PARTS
        if memory.get(name)
    ]
    table = markup.table("", [_say(word, language) for word in ("part", "bytes", "share")], rows, {1, 2})
    return f'<div class="pair"><div>{legend}{markup.figure(drawn, caption)}</div><div>{table}</div></div>\n'


def _against(others: Plans, language: Language) -> str:
    """Time and cost, or tokens a second, against the number of devices; nothing where there is one number."""
    if len(others) < 2:
        return ""
    ranks, first = [number for number, _ in others], others[0][1]
    drawn = list[str]()
    if "step_s" in first:
        whole = [_whole(facts) for _, facts in others]
        unit, size = _unit(max(whole))
        middle = [seconds / size for seconds in whole]
        ends = [[value / facts["step_s"] * facts[end] for value, (_, facts) in zip(middle, others)] for end in ("low_s", "high_s")]
        name = f"{_say('time' if 'seconds' in first else 'time of a step', language)} ({_say(unit, language)})"
        caption = _BAND
        svg = plots.against(ranks, middle, ends, _say("accelerators", language), name, name=f"time-{language}", alt=name)
        drawn.append(markup.figure(svg, _say(caption, language)))
    elif "tokens_a_second" in first:
        name = _say("tokens a second", language)
        values = [facts["tokens_a_second"] for _, facts in others]
        svg = plots.against(ranks, values, None, _say("accelerators", language), name, name=f"speed-{language}", alt=name)
        drawn.append(markup.figure(svg, ""))
    if all(facts.get("usd") for _, facts in others):
        name = f"{_say('cost', language)} ({_say('USD', language)})"
        dollars = [facts["usd"] for _, facts in others]
        ends = [[usd * facts[end] / facts["step_s"] for usd, (_, facts) in zip(dollars, others)] for end in ("low_s", "high_s")]
        svg = plots.against(ranks, dollars, ends, _say("accelerators", language), name, name=f"cost-{language}", alt=name)
        caption = _POINT
        drawn.append(markup.figure(svg, _say(caption, language)))
    return f'<div class="pair">{"".join(drawn)}</div>\n' if drawn else ""


def _table(report: Report, others: Plans, language: Language) -> str:
    head = [_say(word, language) for word in ("accelerators", "layout", "memory", "fits", "time", "cost", "tokens a second")]
    rows = list[list[str]]()
    for ranks, facts in others:
        time = ""
        if "step_s" in facts:
            whole = _whole(facts)
            unit, size = _unit(whole)
            low, told, high = (words.three_digits(whole / facts["step_s"] * facts[end] / size) for end in ("low_s", "step_s", "high_s"))
            time = f"{told} ({low}–{high}) {_say(unit, language)}"
        usd = f"{facts['usd']:,.0f} {_say('USD', language)}" if facts.get("usd") else ""
        rate = f"{facts['tokens_a_second']:,.0f}" if "tokens_a_second" in facts else ""
        layout = _layout(facts["layout"], language) if "layout" in facts else ""
        held = words.amount("bytes", facts["memory_bytes"]["total"])
        rows.append([f"{ranks:,}", layout, held, "✓" if facts["fits"] else "✕", time, usd, rate])
    chosen = [ranks == report.facts["ranks"] for ranks, _ in others]
    return markup.table("", head, rows, {0, 2, 4, 5, 6}, chosen)


def _layout(layout: dict[str, Any], language: Language) -> str:
    along = [f"{_say(name, language)} {layout[name]:,}" for name in ("data", "tensor", "pipeline", "context", "expert") if layout[name] > 1]
    return " × ".join(along) or "1"


def _planned(report: Report, language: Language) -> str:
    facts, options = report.facts, report.options
    layout = facts.get("layout")
    pairs = {
        "model": str(report.model["path"]),
        "parameters": words.amount("parameters", report.model["parameters"]["total"]),
        "stage": _say(options["stage"], language),
        "hardware": _where(facts["ranks"], report),
        "rows of a step" if layout else "rows": f"{facts['rows']:,}",
        "tokens of a row": f"{facts['length']:,}" if facts["length"] > 1 else "",
        "tokens in all": f"{facts['tokens']:,.0f}" if facts.get("tokens") else "",
    }
    if layout:
        pairs["layout"] = _layout(layout, language)
        pairs["shared out"] = _say(layout["sharded"], language)
        pairs["computed again"] = _say("operations" if layout["checkpointing"] == "selective" else layout["checkpointing"], language)
        pairs["sent by a rank in a step"] = words.amount("bytes", sum(facts.get("sent_bytes", {}).values()))
        pairs["pipeline waits"] = words.share(facts["bubble"]) if facts.get("bubble") else ""
        pairs["launch"] = facts["launch"]
    return markup.facts({_say(name, language): text for name, text in pairs.items()})


def _whole(facts: dict[str, Any]) -> float:
    """Seconds of the training, or of a step where its length is not known."""
    return float(facts.get("seconds") or facts["step_s"])


def _unit(seconds: float) -> tuple[str, float]:
    """The unit in which so many seconds are read, and its seconds."""
    return next(((unit, size) for unit, size in (("days", 86400.0), ("hours", 3600.0), ("min", 60.0)) if seconds >= 2 * size), ("s", 1.0))
