// The page: `state` holds what is known, draw() shows it.
const MOST_LOGGED = 30;
const MOST_TRIES = 6;
const state = { language: "en", models: [], infos: {}, shown: [], log: [], running: null, input: null };
const $ = (id) => document.getElementById(id);

function t(text, facts = {}) {
  return ((state.language === "zh" && CHINESE[text]) || text).replace(/{(\w)}/g, (_, name) => facts[name]);
}

function el(tag, attributes = {}, ...children) {
  const svg = ["svg", "image", "ellipse", "polyline", "title"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "weight") node.style.setProperty("--w", value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

const said = (text) => el("span", { "data-t": text }, t(text)); // follows the language

function translate() {
  document.documentElement.lang = state.language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t((node.dataset.t ||= node.textContent));
  for (const node of document.querySelectorAll("[data-t-label]")) node.setAttribute("aria-label", t(node.dataset.tLabel));
  const [name, code] = state.language === "zh" ? ["English", "en"] : ["中文", "zh"];
  $("language").textContent = name;
  $("language").lang = code;
}

const say = (text) => ($("said").textContent = text);
const percent = (share) => new Intl.NumberFormat(state.language, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(share);
const short = (x) => (Math.abs(x) >= 100 ? String(Math.round(x)) : x.toPrecision(3)).replace("-", "−");
const median = (all) => [...all].sort((a, b) => a - b)[Math.floor((all.length - 1) / 2)];

function bytes(number) {
  const unit = [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]].find(([, size]) => number >= size);
  return unit ? `${short(number / unit[1])} ${unit[0]}` : `${number} B`;
}

// ---- the server
async function request(path, body, signal) {
  const token = sessionStorage.getItem("token");
  const headers = { ...(token ? { authorization: `Bearer ${token}` } : {}), ...(body ? { "content-type": "application/json" } : {}) };
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    throw error.name === "AbortError" ? error : { message: t("The server cannot be reached.") };
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  if (response.status === 401) {
    $("gate").hidden = false;
    $("ask").hidden = true;
    $("token").focus();
  }
  throw told.error ?? { message: `${response.status} ${response.statusText}` };
}

const read = async (path, body, signal) => (await request(path, body, signal)).json();
const pathOf = (name) => `/v1/models/${encodeURIComponent(name)}`;

async function* events(response) {
  // the objects of server-sent events
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const found = line.match(/^data:\s*({.*})/);
      if (found) yield JSON.parse(found[1]);
    }
  }
}

function tell(error) {
  if (error.name === "AbortError") return;
  const wanted = error.wanted ? el("small", {}, t("Wanted: {x}", { x: error.wanted })) : "";
  $("error").replaceChildren(error.message, wanted);
}

// ---- asking
const names = () => [$("model").value, $("beside").value].filter(Boolean);

async function ask() {
  const asked = state.input.read();
  if (!asked) return say(t("There is nothing to ask about yet."));
  await busy(async (signal) => {
    const all = names().map((name) => ({ info: state.infos[name], asked, text: "" }));
    if (all[0].info.generates) draw(all);
    try {
      for (const answer of all) await (answer.info.generates ? written : predicted)(answer, signal); // in turn: neither slows the other
    } finally {
      if (state.running.signal === signal) draw(all.filter((answer) => answer.prediction)); // else another question has begun
    }
    if (all[0].info.chat) state.input.clear();
    const both = all.length > 1 ? t(note(all) ? "They agree." : "They differ.") : "";
    compared();
    say([...all.map((answer) => `${answer.info.id}: ${told(answer)}.`), both].join(" "));
  });
}

async function busy(work) {
  state.running?.abort();
  const running = (state.running = new AbortController());
  $("error").replaceChildren();
  $("stop").hidden = false;
  $("answers").setAttribute("aria-busy", "true");
  try {
    await work(running.signal);
  } catch (error) {
    tell(error);
  }
  if (state.running !== running) return; // another has begun
  state.running = null;
  $("stop").hidden = true;
  $("answers").removeAttribute("aria-busy");
}

async function predicted(answer, signal) {
  const { info, asked } = answer;
  const found = await read(`${pathOf(info.id)}/predict`, { inputs: asked.rows, probabilities: true }, signal);
  answer.ms = found.ms;
  answer.prediction = { ...found.predictions[0], ...(info.embeds ? { vectors: found.predictions.map((each) => each.value) } : {}) };
}

async function written(answer, signal) {
  const { info, asked } = answer;
  const begun = performance.now();
  let tokens = 0;
  answer.turns = info.chat ? [...(info.turns ?? []), { role: "user", content: asked.rows[0] }] : [];
  const body = { model: info.id, stream: true, stream_options: { include_usage: true }, ...asked.how };
  const [path, input] = info.chat ? ["chat/completions", { messages: answer.turns }] : ["completions", { prompt: asked.rows[0] }];
  try {
    for await (const event of events(await request(`/v1/${path}`, { ...body, ...input }, signal))) {
      if (event.error) throw event.error;
      const piece = event.choices?.[0]?.delta?.content ?? event.choices?.[0]?.text;
      if (piece) answer.first ??= performance.now() - begun;
      answer.text += piece ?? "";
      tokens = event.usage?.completion_tokens ?? tokens;
      answer.place.textContent = answer.text;
    }
  } catch (error) {
    if (error.code === "no_generation") return predicted(answer, signal); // it does not write token by token
    if (!answer.text) throw error;
    tell(error); // what came before it stays
  }
  const ms = performance.now() - begun;
  Object.assign(answer, { ms, rate: tokens > 1 ? (1000 * (tokens - 1)) / (ms - answer.first) : 0, prediction: { value: answer.text } });
  if (info.chat) info.turns = [...answer.turns, { role: "assistant", content: answer.text }];
  draw(state.shown);
}

async function why() {
  await busy(async (signal) => {
    for (const answer of state.shown) {
      const { info, asked } = answer;
      const method = info.explains.includes($("method").value) ? $("method").value : info.explains[0];
      if (!method) continue;
      const row = answer.turns?.length ? { messages: answer.turns } : asked.rows[0];
      answer.why = (await read(`${pathOf(info.id)}/explain`, { inputs: [row], method }, signal)).explanations[0];
      draw(state.shown);
    }
    const found = state.shown.filter((answer) => answer.why);
    say(found.map(({ info, why }) => `${info.id}: ${t("What weighs most")}: ${heaviest(why)}.`).join(" "));
  });
}

const heaviest = (why) => [...why.units].sort((a, b) => b.score - a.score).slice(0, 3).map(named).join("; ");

// ---- side by side
function note(answers) {
  const [a, b] = answers.map((answer) => {
    const { info, prediction, ms } = answer;
    return { id: info.id, told: told(answer), number: prediction.value, ms, bytes: info.bytes };
  });
  state.log.unshift({ shown: answers[0].asked.shown, a, b, alike: a.told === b.told });
  return a.told === b.told;
}

function compared() {
  const [first, second] = names();
  const log = state.log.filter((each) => each.a.id === first && each.b.id === second);
  $("session").hidden = !log.length;
  if (!log.length) return;
  const numbers = log.filter(({ a, b }) => typeof a.number === "number" && typeof b.number === "number");
  const apart = numbers.reduce((sum, { a, b }) => sum + Math.abs(a.number - b.number) / numbers.length, 0);
  const facts = { n: log.filter((each) => each.alike).length, m: log.length, x: short(apart) };
  const sides = ["a", "b"].map((side) => ({ ...log[0][side], middle: median(log.map((each) => each[side].ms)) }));
  const [fast, slow] = sides.sort((a, b) => a.middle - b.middle);
  const times = { a: fast.id, x: short(slow.middle / fast.middle), y: short(slow.bytes / fast.bytes) };
  $("agreement").textContent = [
    numbers.length ? t("The answers differ by {x} in the mean.", facts) : t("{n} of {m} answers agree.", facts),
    t("Median time: {a} {x} ms, {b} {y} ms.", { a: fast.id, x: short(fast.middle), b: slow.id, y: short(slow.middle) }),
    fast.bytes < slow.bytes ? t("{a} is {x} × as fast, in {y} × fewer bytes.", times) : "",
  ].join(" ");
  const titles = [t("asked"), first, second, t("alike"), `${first}, ms`, `${second}, ms`];
  const head = titles.map((name, i) => el("th", { scope: "col", class: i > 3 ? "n" : "" }, name));
  const rows = log.slice(0, MOST_LOGGED).map(({ shown, a, b, alike }) => {
    const asked = shown.startsWith("data:image") ? el("img", { src: shown, alt: "" }) : clipped(shown);
    const verdict = el("span", { class: alike ? "child" : "failed" }, `${alike ? "✓" : "✗"} ${t(alike ? "yes" : "no")}`);
    const cells = [asked, clipped(a.told), clipped(b.told), verdict];
    return el("tr", {}, cells.map((cell) => el("td", {}, cell)), [a.ms, b.ms].map((ms) => el("td", { class: "n" }, short(ms))));
  });
  $("log").replaceChildren(el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows));
}

const clipped = (text, most = 80) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function draw(answers) {
  state.shown = answers;
  $("answers").replaceChildren(...answers.map(article));
  $("why").hidden = $("method").hidden = !answers.some(({ info, prediction }) => prediction && info.explains.length);
  $("anew").hidden = !answers.some(({ info }) => info.turns);
  compared();
}

// ---- models and their cards
async function choose() {
  const { id, task } = state.models.find((model) => model.id === $("model").value);
  const others = state.models.filter((model) => model.task === task && model.id !== id);
  $("beside").replaceChildren(...others.map((model) => el("option", {}, model.id)), el("option", { value: "", "data-t": "none" }, t("none")));
  $("second").hidden = !others.length;
  await busy(async () => {
    await known();
    const info = state.infos[id];
    state.input = INPUTS[info.media](info);
    translate();
    $("facts").textContent = [info.task, info.engine, bytes(info.bytes)].join(" · ");
    $("method").replaceChildren(...info.explains.map((method) => el("option", {}, method)));
    await card(info);
  });
}

async function known() {
  for (const name of names()) state.infos[name] ??= await read(pathOf(name));
  draw([]);
}

async function card(info) {
  const path = pathOf(info.id);
  const found = (info.card ??= await read(`${path}/card`).catch((error) => ({ summary: error.message, report: { facts: {} } })));
  const { differ = [], samples = [] } = found.report.facts;
  const columns = Object.keys(info.columns);
  const alone = columns.length === 1 && !info.embeds; // an example is one text or one image
  const shows = [...differ.map((each) => each.show), ...samples].filter((show) => alone && show[info.media]).slice(0, MOST_TRIES);
  $("tries").hidden = !shows.length;
  $("tries").replaceChildren(said(differ.length ? "Where it and its parent differ" : "Try"), ...shows.map(button));
  const row = columns.length === 1 ? "..." : Object.fromEntries(columns.map((name) => [name, "..."]));
  $("card").hidden = false;
  $("card").lastElementChild.replaceChildren(
    el("pre", { tabindex: 0 }, found.summary), el("h3", { "data-t": "From a program" }, t("From a program")),
    el("pre", { tabindex: 0 }, `curl ${location.origin}${path}/predict -d '${JSON.stringify({ inputs: [row] })}'`),
  );
}

function button(example, number) {
  const shown = example.text ? clipped(example.text, 42) : el("img", { src: example.image, alt: t("Example {n}", { n: number + 1 }) });
  return el("button", { type: "button", onclick: () => tried(example) }, shown);
}

async function tried(example) {
  await state.input.take(example);
  if (example.text) ask();
}

async function begin() {
  try {
    state.models = (await read("/v1/models")).data;
    $("gate").hidden = true;
    $("ask").hidden = false;
    $("error").replaceChildren();
    $("model").replaceChildren(...state.models.map((model) => el("option", { value: model.id }, model.id)));
    if (state.models.length) await choose();
  } catch (error) {
    tell(error);
  }
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
$("gate").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value);
  begin();
});
$("language").addEventListener("click", () => {
  state.language = state.language === "zh" ? "en" : "zh";
  translate();
  draw(state.shown);
});
$("model").addEventListener("change", choose);
$("beside").addEventListener("change", () => busy(known));
$("why").addEventListener("click", why);
$("stop").addEventListener("click", () => state.running?.abort());
$("anew").addEventListener("click", () => {
  for (const info of Object.values(state.infos)) delete info.turns;
  draw([]);
});
if (navigator.language.startsWith("zh")) state.language = "zh";
translate();
begin();
