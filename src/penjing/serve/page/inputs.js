// What is asked. An input has read(), which gives {rows, texts, picture, wave, how, shown} or null, and take(example of a card).
const INPUTS = { text: textInput, image: imageInput, sound: soundInput };
const COLUMNS = { text: "Text", question: "Question", context: "Context", sentence1: "First text", sentence2: "Second text" };
const PAD = 256; // pixels of a side of what is drawn on
const DRAWN = 64; // pixels of the longer side of the largest image that is drawn by hand

const field = (name, control) => el("label", {}, said(name), control);

function textInput(info) {
  const names = Object.keys(info.columns);
  const writes = info.generates;
  const title = (name) => {
    if (info.embeds) return "One text a line";
    if (info.task === "text-generation") return info.chat ? "Message" : "Prompt";
    return names.length > 1 ? (COLUMNS[name] ?? name) : "Text";
  };
  const areas = names.map((name) => el("textarea", { name, rows: info.embeds || name === "context" ? 5 : names.length > 1 ? 2 : 3, dir: "auto" }));
  const most = el("input", { type: "number", min: 1, max: 4096, value: 64 });
  const heat = el("input", { type: "number", min: 0, max: 2, step: 0.1, value: 0 });
  for (const area of areas)
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("ask").requestSubmit();
    });
  $("inputs").replaceChildren(
    ...areas.map((area) => field(title(area.name), area)),
    writes ? el("div", { class: "fields" }, field("Most tokens", most), field("Temperature", heat)) : "",
    el("p", { class: "hint" }, info.embeds ? [said("The others are compared with the first."), " "] : [], said("Ctrl + Enter asks.")),
  );
  return {
    take: (example) => (areas[0].value = example.text),
    clear: () => (areas[0].value = ""),
    read() {
      const blank = areas.find((area) => !area.value.trim());
      if (blank) return blank.focus();
      const texts = Object.fromEntries(areas.map((area) => [area.name, area.value]));
      const first = areas[0].value;
      const rows = info.embeds ? first.split("\n").filter((line) => line.trim()) : [names.length > 1 ? texts : first];
      const how = { max_tokens: most.valueAsNumber, temperature: heat.valueAsNumber };
      return { rows, how, texts: { ...texts, asked: first, prompt: first }, shown: Object.values(texts).join(" · ") };
    },
  };
}

function chosen(accept, name, use, ...shown) {
  // where a file is chosen or dropped
  const file = el("input", { type: "file", accept, onchange: () => file.files.length && use(file.files[0]) });
  const box = el("div", { class: "drop" }, el("label", {}, said(name), file), ...shown);
  for (const kind of ["dragover", "dragleave", "drop"])
    box.addEventListener(kind, (event) => {
      event.preventDefault();
      box.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) use(event.dataTransfer.files[0]);
    });
  return box;
}

function dataUri(blob) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    Object.assign(reader, { onload: () => done(reader.result), onerror: () => failed(reader.error) }).readAsDataURL(blob);
  });
}

function imageInput(info) {
  const [, height, width] = info.shape;
  const preview = el("img", { alt: "", hidden: true });
  let picture = null;
  const seen = (uri) => {
    picture = uri;
    preview.hidden = true;
    if (uri) ask();
  };
  const pad = Math.max(height, width) <= DRAWN ? drawing(height, width, seen) : null;
  const show = async (uri) => {
    pad?.clear();
    picture = preview.src = uri;
    preview.hidden = !(await preview.decode().then(() => true, () => false)); // the server may read what the browser cannot show
    preview.classList.toggle("tiny", preview.naturalWidth <= DRAWN);
    ask();
  };
  $("inputs").replaceChildren(pad?.node ?? "", chosen("image/*", "Choose an image, or drop one here", async (file) => show(await dataUri(file)), preview));
  return {
    take: (example) => (pad ? pad.take(example.image) : show(example.image)),
    read: () => picture && { rows: [picture], texts: {}, picture, shown: picture },
  };
}

function drawing(height, width, done) {
  // a square to draw on, white on black, and each pixel of the model as the mean of its part of the square
  const side = Math.floor(PAD / Math.max(height, width));
  const spoken = { role: "application", "data-t-label": "Drawing", "aria-describedby": "keys" };
  const pad = el("canvas", { class: "pad", width: width * side, height: height * side, tabindex: 0, ...spoken });
  const small = el("canvas", { class: "small", width, height, role: "img", "data-t-label": "As the model sees it" });
  const mark = el("span", { class: "pen" });
  const ink = pad.getContext("2d", { willReadFrequently: true });
  Object.assign(ink, { strokeStyle: "#fff", lineWidth: Math.max(PAD / 10, 1.3 * side), lineCap: "round", imageSmoothingEnabled: false });
  const pen = { x: pad.width / 2, y: pad.height / 2, down: false };

  const look = () => {
    const from = ink.getImageData(0, 0, pad.width, pad.height).data;
    const sums = new Float64Array(width * height);
    for (let p = 0; p < from.length / 4; p++)
      sums[Math.floor(p / pad.width / side) * width + Math.floor((p % pad.width) / side)] += (from[4 * p] * from[4 * p + 3]) / 255;
    const seen = new ImageData(width, height);
    sums.forEach((sum, i) => seen.data.set([0, 1, 2].map(() => Math.round(sum / side ** 2)).concat(255), 4 * i));
    small.getContext("2d").putImageData(seen, 0, 0);
    return small.toDataURL();
  };
  const move = (x, y) => {
    const [to, from] = [{ x: Math.min(pad.width, Math.max(0, x)), y: Math.min(pad.height, Math.max(0, y)) }, { ...pen }];
    Object.assign(pen, to);
    mark.style.left = `${(100 * pen.x) / pad.width}%`;
    mark.style.top = `${(100 * pen.y) / pad.height}%`;
    if (!pen.down) return;
    ink.beginPath();
    ink.moveTo(from.x, from.y);
    ink.lineTo(to.x + 0.01, to.y); // a line of no length is not drawn
    ink.stroke();
    look();
  };
  const clear = () => {
    ink.clearRect(0, 0, pad.width, pad.height);
    look();
  };
  const set = (down) => {
    pen.down = down;
    if (down) move(pen.x, pen.y);
    else done(look());
  };
  const place = (event) => [(event.offsetX * pad.width) / pad.clientWidth, (event.offsetY * pad.height) / pad.clientHeight];

  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    pen.down = false;
    move(...place(event));
    set(true);
  });
  pad.addEventListener("pointermove", (event) => pad.hasPointerCapture(event.pointerId) && move(...place(event)));
  pad.addEventListener("lostpointercapture", () => set(false));
  pad.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) move(pen.x + (step[0] * PAD) / 16, pen.y + (step[1] * PAD) / 16);
    else if (event.key === " ") {
      set(!pen.down);
      say(t(pen.down ? "pen down" : "pen up"));
    } else return;
    event.preventDefault();
  });
  const wipe = el("button", { type: "button", onclick: () => (clear(), done(null)) }, said("Clear"));
  const hint = "Draw large, over the whole square. Keys: arrows move the pen, Space sets it down and lifts it.";
  const node = el(
    "div", { class: "draw" }, el("figure", { class: "on" }, pad, mark),
    el("figure", {}, small, el("figcaption", {}, said("As the model sees it")), wipe), el("p", { class: "hint", id: "keys" }, said(hint)),
  );
  const take = async (uri) => {
    const image = el("img", { src: uri });
    await image.decode();
    clear();
    ink.drawImage(image, 0, 0, pad.width, pad.height);
    done(look());
  };
  move(pen.x, pen.y);
  clear();
  return { node, clear, take };
}

function soundInput() {
  const player = el("audio", { controls: true, hidden: true });
  let sound = null;
  const use = async (blob, samples) => {
    URL.revokeObjectURL(player.src);
    player.src = URL.createObjectURL(blob);
    player.hidden = false;
    samples ??= await decoded(blob).catch(() => null); // the server may read what the browser cannot
    const uri = await dataUri(blob);
    const seconds = samples ? t("{x} s", { x: short(samples.length / samples.sampleRate) }) : "";
    sound = { rows: [uri], texts: {}, wave: samples && peaks(samples), shown: `${blob.name ?? ""} ${seconds}`.trim() };
    ask();
  };
  const record = el("button", { type: "button", onclick: () => (recorder ? recorder.stop() : begin()) }, said("Record"));
  let recorder = null;
  const begin = async () => {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const parts = [];
      recorder = new MediaRecorder(stream);
      recorder.ondataavailable = (event) => parts.push(event.data);
      recorder.onstop = async () => {
        recorder = null;
        record.replaceChildren(said("Record"));
        translate();
        stream.getTracks().forEach((track) => track.stop());
        const samples = await decoded(new Blob(parts));
        use(wav(samples), samples);
      };
      recorder.start();
      record.replaceChildren(said("End the recording"));
      translate();
    } catch {
      tell({ message: t("The microphone cannot be used.") });
    }
  };
  $("inputs").replaceChildren(chosen("audio/*", "Choose a sound, or drop one here", use, navigator.mediaDevices ? record : "", player));
  return { take: () => null, read: () => sound };
}

async function decoded(blob) {
  return new OfflineAudioContext(1, 1, 48000).decodeAudioData(await blob.arrayBuffer());
}

function peaks(samples) {
  const all = samples.getChannelData(0);
  const each = Math.max(1, Math.floor(all.length / 200));
  const peak = (_, i) => all.subarray(i * each, (i + 1) * each).reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return Array.from({ length: Math.floor(all.length / each) }, peak);
}

function wav(samples) {
  // the first channel as 16-bit PCM
  const all = samples.getChannelData(0);
  const view = new DataView(new ArrayBuffer(44 + 2 * all.length));
  const rate = samples.sampleRate;
  const put = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  put(0, "RIFF");
  view.setUint32(4, 36 + 2 * all.length, true);
  put(8, "WAVEfmt ");
  [[16, 16, 4], [20, 1, 2], [22, 1, 2], [24, rate, 4], [28, 2 * rate, 4], [32, 2, 2], [34, 16, 2], [40, 2 * all.length, 4]].forEach(
    ([at, value, size]) => (size === 4 ? view.setUint32(at, value, true) : view.setUint16(at, value, true)),
  );
  put(36, "data");
  all.forEach((x, i) => view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, x)) * 32767, true));
  return new Blob([view], { type: "audio/wav" });
}
