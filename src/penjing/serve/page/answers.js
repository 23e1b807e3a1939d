// What is shown of an answer: {info, asked, prediction, ms, first, rate, why}.
const MOST_BARS = 10;
const MOST_LISTED = 5; // parts of an explanation
const MARKED = 0.03; // of the largest score; what weighs less is not marked

function article(answer) {
  const { info, asked, prediction, why } = answer;
  const facts = [info.engine, bytes(info.bytes)].join(" · ");
  return el(
    "article", { "aria-busy": prediction ? false : "true" },
    el("h2", {}, info.id), el("p", { class: "kicker" }, facts),
    (answer.turns ?? []).map((turn) => el("p", { class: `turn ${turn.role}` }, turn.content)),
    value(answer), prediction ? bars(answer) : null,
    el("p", { class: "hint" }, timing(answer)), why ? explained(why, asked) : null,
  );
}

function value(answer) {
  if (!answer.prediction) {
    answer.place = el("p", { class: "answer long writing" }, answer.text);
    return answer.place;
  }
  const text = told(answer);
  const marked = marks(answer.prediction, answer.asked);
  if (marked && answer.prediction.words) return marked; // the text says it all
  const first = answer.info.embeds && answer.asked.rows.length > 1 ? el("p", { class: "hint" }, t("nearest to the first")) : null;
  return [first, el("p", { class: text.length > 40 ? "answer long" : "answer", dir: "auto" }, text), marked];
}

function told({ info, asked, prediction }) {
  // an answer in words, by which two of them are compared
  const { value } = prediction;
  if (info.embeds) return asked.rows.length > 1 ? near(prediction, asked)[0].label : prediction.told;
  if (typeof value === "number") return short(value);
  if (Array.isArray(value)) return prediction.words ? prediction.told : value.join(", ") || t("nothing");
  if (value !== null && typeof value === "object") return value.text || t("no answer");
  return String(value);
}

function marks(prediction, asked) {
  // entities, tags or the answer to a question, in the text
  const { value, words, entities } = prediction;
  if (entities?.every((each) => "start" in each) && entities.length) return inText(asked.texts.asked, entities);
  if (words) {
    const parts = words.map((word, i) => [Array.isArray(value) && value[i] !== "O" ? el("mark", {}, word, el("small", {}, value[i])) : word, " "]);
    return el("p", { class: "why" }, parts);
  }
  return value?.text && "start" in value ? inText(asked.texts.context, [value]) : null;
}

function inText(text, spans) {
  const letters = [...text]; // places count code points
  let end = 0;
  const parts = spans.map((span) => {
    const before = letters.slice(end, span.start).join("");
    end = span.end;
    return [before, el("mark", {}, letters.slice(span.start, end).join(""), span.label ? el("small", {}, span.label) : null)];
  });
  return el("p", { class: "why" }, parts, letters.slice(end).join(""));
}

function bars(answer) {
  const { info, asked, prediction } = answer;
  let all = [];
  if (info.embeds) all = near(prediction, asked);
  else if (prediction.probabilities && !Array.isArray(prediction.probabilities))
    all = Object.entries(prediction.probabilities).map(([label, share]) => ({ label, share, shown: percent(share) }));
  else if (typeof prediction.score === "number" && !prediction.words)
    all = [{ label: told(answer), share: prediction.score, shown: percent(prediction.score) }];
  all.sort((a, b) => b.share - a.share);
  const rest = all.slice(MOST_BARS);
  if (rest.length && !info.embeds) {
    const share = rest.reduce((sum, each) => sum + each.share, 0);
    all = [...all.slice(0, MOST_BARS), { label: t("{n} others", { n: rest.length }), share, shown: percent(share) }];
  }
  return all.length ? el("ol", { class: "bars" }, all.map(bar)) : null;
}

const bar = ({ label, share, shown }) =>
  el("li", {}, el("span", {}, label), el("i", { weight: Math.max(0, Math.min(1, share)) }), el("span", { class: "n" }, shown));

function near(prediction, asked) {
  // the other texts by the cosine of their vectors with the first one's
  const product = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
  const [first, ...others] = prediction.vectors;
  const found = others.map((other, i) => {
    const share = product(first, other) / Math.sqrt(product(first, first) * product(other, other));
    return { label: asked.rows[i + 1], share, shown: short(share) };
  });
  return found.sort((a, b) => b.share - a.share);
}

function timing({ ms, first, rate }) {
  if (ms === undefined) return "";
  if (first === undefined) return t("{x} ms in the server", { x: short(ms) });
  const speed = rate ? ` · ${t("{x} tokens a second", { x: short(rate) })}` : "";
  return t("first word after {x} ms, all after {y} ms", { x: short(first), y: short(ms) }) + speed;
}

// ---- why
function explained(why, asked) {
  const most = Math.max(...why.units.map((unit) => Math.abs(unit.score))) || 1;
  const text = "text" in why.units[0];
  const sound = "moment" in why.units[0];
  const [plus, minus] = text ? ["▁", "⋯"] : ["●", "○"];
  const order = [...why.units].sort((a, b) => Math.abs(b.score) - Math.abs(a.score)).slice(0, MOST_LISTED);
  const rows = order.map((unit) => el("tr", {}, el("th", { scope: "row" }, named(unit)), el("td", { class: "n" }, short(unit.score))));
  const head = el("tr", {}, el("th", { scope: "col" }, t("part")), el("th", { scope: "col", class: "n" }, t("score")));
  return el(
    "section", {}, el("h3", {}, `${t("Why?")} ${why.method}`), text ? words(why.units, asked.texts, most) : cells(why.units, asked, most),
    el("p", { class: "marks" }, el("span", { class: "child" }, `${plus} ${t("speaks for it")}`), el("span", { class: "failed" }, `${minus} ${t("speaks against it")}`),
      sound ? el("span", {}, t("time goes to the right, pitch upward")) : null),
    why.warnings.length ? el("aside", { class: "mind", "aria-label": t("Mind") }, why.warnings.map((warning) => el("p", {}, warning))) : null,
    el("details", {}, el("summary", {}, t("What weighs most")), el("table", {}, el("thead", {}, head), el("tbody", {}, rows))),
    why.faithfulness ? el("p", { class: "hint" }, t("This order of the parts beats {x} of random orders.", { x: percent(why.faithfulness.beaten) })) : null,
  );
}

function named(unit) {
  const places = ["row", "column", "moment", "pitch"].filter((name) => name in unit);
  return unit.text ?? places.map((name) => `${t(name)} ${unit[name]}`).join(", ");
}

function words(units, texts, most) {
  return [...new Set(units.map((unit) => unit.column))].map((column) => {
    const own = units.filter((unit) => unit.column === column);
    let letters = [...(texts[column] ?? "")];
    if (own.some((unit) => letters.slice(unit.start, unit.end).join("") !== unit.text)) letters = spread(own);
    let end = 0;
    const parts = own.map((unit) => {
      const before = letters.slice(end, unit.start).join("");
      end = unit.end;
      const weight = Math.abs(unit.score) / most;
      const kind = unit.score > 0 ? "for" : "against";
      return [before, weight < MARKED ? unit.text : el("span", { class: kind, weight: weight.toFixed(2), title: short(unit.score) }, unit.text)];
    });
    return el("p", { class: "why", dir: "auto" }, parts, letters.slice(end).join(""));
  });
}

function spread(units) {
  // words that stand at their places, where the text between them is not known
  const letters = [];
  for (const unit of units) {
    while (letters.length < unit.start) letters.push(" ");
    letters.push(...unit.text);
  }
  return letters;
}

function cells(units, asked, most) {
  const sound = "moment" in units[0];
  const places = units.map((unit) => (sound ? [unit.moment, unit.pitch] : [unit.column, unit.row]));
  const [across, down] = [0, 1].map((axis) => 1 + Math.max(...places.map((place) => place[axis])));
  const [width, height] = sound ? [480, 180] : [(240 * across) / Math.max(across, down), (240 * down) / Math.max(across, down)];
  const [wide, tall] = [width / across, height / down];
  const spots = units.map((unit, i) => {
    const weight = Math.abs(unit.score) / most;
    if (weight < MARKED) return null;
    const size = 0.46 * Math.sqrt(weight); // as much ink as weight
    const [x, y] = [places[i][0], sound ? down - 1 - places[i][1] : places[i][1]];
    const spot = { cx: (x + 0.5) * wide, cy: (y + 0.5) * tall, rx: size * wide, ry: size * tall, "stroke-width": 0.07 * Math.min(wide, tall) };
    return el("ellipse", { class: unit.score > 0 ? "for" : "against", ...spot }, el("title", {}, `${named(unit)}: ${short(unit.score)}`));
  });
  const line = asked.wave?.map((peak, i, all) => `${(i * width) / all.length},${height * (0.98 - 0.96 * peak)}`).join(" ");
  return el(
    "svg", { class: sound ? "over wide" : "over", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": t("Why?") },
    asked.picture ? el("image", { href: asked.picture, width, height, preserveAspectRatio: "none" }) : null,
    line ? el("polyline", { points: line }) : null, spots,
  );
}
