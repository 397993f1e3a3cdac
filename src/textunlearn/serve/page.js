// The chat page. Whatever a model, a data set or a person says reaches the page as text (textContent), never as markup; the server's
// policy forbids every script but this file.
"use strict";

const $ = (id) => document.getElementById(id);
const exchanges = [];
const names = { original: "Original", aligned: "Aligned" };
const endings = { length: "cut at the token limit", time: "cut at the time limit", left: "stopped" };
let words = { harmful: {}, harmless: {} };
let picture = null; // {uri, drawn}: what goes with the next request
let running = null; // the AbortController of what is being answered
let chosen = false; // whether the person has said what is asked for

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// -- talking to the server -------------------------------------------------------------------------------------------

const key = takeKey();

function takeKey() {
  const found = new URLSearchParams(location.hash.slice(1)).get("key");
  if (found) {
    sessionStorage.setItem("key", found);
    history.replaceState(null, "", location.pathname); // not into bookmarks and screenshots
  }
  return found || sessionStorage.getItem("key") || "";
}

async function call(path, body, signal) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const options = { headers, signal };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer; is it still running?");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Error(said.error ? sentence(said.error.message) : `The server answered with an error (${answer.status}).`);
}

async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part.slice("data: ".length));
  }
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

// -- one question and its two answers --------------------------------------------------------------------------------

function draw(exchange) {
  const box = element("article", "exchange");
  const asked = element("div", "asked");
  const text = element("div");
  text.append(element("p", "words", exchange.request || "(a picture, nothing typed)"));
  if (exchange.drawn) text.append(element("p", "drawn", `In the picture: ${exchange.drawn}`));
  const tags = element("div", "tags");
  if (exchange.attack) tags.append(element("span", "tag attack", exchange.attack.replaceAll("_", " ")));
  tags.append(element("span", `tag ${exchange.kind}`, exchange.kind === "harmful" ? "harmful" : "harmless"));
  text.append(tags);
  const pictures = element("div", "pictures");
  asked.append(text, pictures);
  const replies = element("div", "replies");
  const parts = { box, asked, pictures, sides: {} };
  for (const side of ["original", "aligned"]) {
    const reply = element("section", "reply");
    const title = element("h3");
    const strength = Math.round(100 * exchange.strength);
    title.append(element("span", "", side === "aligned" && strength < 100 ? `Aligned, at ${strength} %` : names[side]));
    const cost = element("span", "cost");
    title.append(cost);
    const answer = element("div", "answer going");
    const verdict = element("p", "verdict", "answering…");
    reply.setAttribute("aria-label", `Answer of the ${side} model`);
    reply.append(title, verdict, answer);
    replies.append(reply);
    parts.sides[side] = { reply, answer, verdict, cost };
  }
  box.append(asked, replies);
  $("welcome").hidden = true;
  $("talk").append(box);
  addPictures(parts, exchange);
  box.scrollIntoView({ block: "start" });
  return parts;
}

function addPictures(parts, exchange) {
  parts.pictures.replaceChildren(
    ...exchange.pictures.map((uri) => {
      const image = element("img");
      image.src = uri;
      image.alt = exchange.drawn ? `Picture of the text: ${exchange.drawn}` : "Picture that the models were shown";
      return image;
    }),
  );
}

function showShown(parts, exchange) {
  addPictures(parts, exchange);
  for (const side of Object.values(parts.sides)) {
    if (exchange.prefill) side.answer.append(element("span", "begun", exchange.prefill));
    side.text = document.createTextNode("");
    side.answer.append(side.text);
  }
  if (!exchange.attack) return;
  const details = element("details", "shown");
  details.append(element("summary", "", "What the models were shown"));
  details.append(element("pre", "", exchange.typed || "(nothing typed)"));
  if (exchange.prefill) details.append(element("p", "", `Their answers were begun with: ${exchange.prefill}`));
  parts.asked.append(details);
}

function take(event, exchange, parts) {
  if (event.shown) {
    exchange.typed = event.shown.typed;
    exchange.prefill = event.shown.prefill;
    if (event.shown.pictures.length) exchange.pictures = event.shown.pictures;
    showShown(parts, exchange);
    return;
  }
  if (!event.side) return;
  const reply = exchange.replies[event.side];
  const side = parts.sides[event.side];
  if (event.piece !== undefined) {
    reply.said += event.piece;
    side.text.data = reply.said;
  } else if (event.end) {
    side.answer.classList.remove("going");
    reply.note = endings[event.end] || "";
    side.cost.textContent = [`${event.tokens} tokens`, `${event.seconds.toFixed(1)} s`, reply.note].filter(Boolean).join(" · ");
    if (!reply.said.trim() && !exchange.prefill) side.answer.append(element("span", "nothing", "(nothing)"));
    side.verdict.textContent = "judging…";
  } else if (event.label) {
    Object.assign(reply, { label: event.label, reason: event.reason });
    side.reply.classList.add(event.label);
    const word = meaning(exchange, event.label);
    side.verdict.replaceChildren(element("b", "", word), element("span", "", event.reason));
    side.verdict.title = `by the judge ${event.judge}`;
    $("status").textContent = `${names[event.side]}: ${word}.`;
  } else if (event.error) {
    side.answer.classList.remove("going");
    side.verdict.replaceChildren(element("span", "error", sentence(event.error)));
  }
}

function meaning(exchange, label) {
  return words[exchange.kind === "harmful" ? "harmful" : "harmless"][label] || label;
}

async function ask(attack) {
  if (running) return;
  const last = exchanges[exchanges.length - 1];
  const empty = !$("request").value.trim() && !picture;
  const again = empty && attack && last; // an attack on an empty line takes the last request
  if (empty && !again) {
    trouble(attack ? "Type a request first, then put it under an attack." : "Type a request, or attach a picture.");
    $("request").focus();
    return;
  }
  if (attack && !chosen) document.querySelector('input[name="kind"][value="harmful"]').checked = true;
  const exchange = {
    request: again ? last.request : $("request").value.trim(),
    kind: document.querySelector('input[name="kind"]:checked').value,
    attack: attack || "",
    drawn: picture && !again ? picture.drawn : "",
    typed: "",
    prefill: "",
    pictures: picture && !again ? [picture.uri] : [],
    strength: Number($("strength").value) / 100,
    replies: {},
  };
  for (const side of Object.keys(names)) exchange.replies[side] = { said: "", label: "", reason: "", note: "" };
  const body = {
    request: exchange.request,
    kind: exchange.kind,
    attack: exchange.attack,
    picture: exchange.pictures[0] || "",
    drawn: exchange.drawn,
    prefill: $("prefill").value,
    strength: exchange.strength,
    tokens: Number($("tokens").value) || 256,
    temperature: Number($("temperature").value),
    seed: Number($("seed").value) || 0,
    earlier: $("remember").checked ? earlier() : {},
  };
  trouble("");
  running = new AbortController();
  busy(true);
  let parts = null;
  try {
    const answer = await call("api/ask", body, running.signal);
    exchanges.push(exchange);
    parts = draw(exchange);
    if (!again) clear();
    for await (const event of events(answer)) take(event, exchange, parts);
  } catch (error) {
    if (error.name !== "AbortError") trouble(error.message);
  }
  running = null;
  busy(false);
  if (parts) finish(exchange, parts);
}

function finish(exchange, parts) {
  for (const [name, side] of Object.entries(parts.sides)) {
    if (!side.answer.classList.contains("going")) {
      if (side.verdict.textContent === "judging…") side.verdict.textContent = "not judged";
      continue;
    }
    side.answer.classList.remove("going");
    side.verdict.textContent = "stopped";
    exchange.replies[name].note = "stopped";
  }
}

function earlier() {
  const out = {};
  for (const side of Object.keys(names)) {
    out[side] = exchanges.map((one) => ({
      text: one.typed,
      picture: one.pictures[0] || "",
      answer: one.prefill + one.replies[side].said,
    }));
  }
  return out;
}

function busy(is) {
  $("send").hidden = is;
  $("stop").hidden = !is;
  for (const chip of document.querySelectorAll(".chip")) chip.disabled = is;
  if (!is) $("request").focus({ preventScroll: true });
}

function clear() {
  $("request").value = "";
  grow();
  attach(null);
  toggle("picture", false);
  toggle("settings", false);
}

function grow() {
  const box = $("request");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

// -- pictures --------------------------------------------------------------------------------------------------------

function attach(next, about) {
  picture = next;
  $("attached").hidden = !next;
  if (!next) return;
  $("thumb").src = next.uri;
  $("attached-is").textContent = about;
}

function dataUri(blob) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(new Error("The picture cannot be read."));
    reader.readAsDataURL(blob);
  });
}

async function takeFile(file) {
  if (!file) return;
  if (!file.type.startsWith("image/")) {
    trouble("This is no picture; take a PNG or JPEG file.");
    return;
  }
  trouble("");
  attach({ uri: await dataUri(file), drawn: "" }, file.name || "pasted picture");
  $("request").focus();
}

let previewing = null;
let preview = null; // {uri, text}

async function redraw() {
  if (previewing) previewing.abort();
  previewing = new AbortController();
  const { signal } = previewing;
  const text = $("drawn").value.trim();
  $("size-is").textContent = `${$("size").value} px`;
  $("rotation-is").textContent = `${$("rotation").value}°`;
  if (!text) {
    preview = null;
    $("preview").hidden = true;
    $("attach").disabled = true;
    $("preview-is").textContent = "The picture appears as you type.";
    return;
  }
  const body = { text, layout: $("layout").value, size: Number($("size").value), rotation: Number($("rotation").value) };
  if ($("font").value) body.font = $("font").value;
  if ($("numbered").checked) body.numbered = true;
  await new Promise((done) => setTimeout(done, 120)); // while somebody types
  if (signal.aborted) return;
  try {
    const uri = await dataUri(await (await call("api/draw", body, signal)).blob());
    if (signal.aborted) return;
    preview = { uri, text };
    $("preview").src = uri;
    $("preview").alt = `Picture of the text: ${text}`;
    $("preview").hidden = false;
    $("attach").disabled = false;
    $("preview-is").textContent = "As the models see it.";
  } catch (error) {
    if (error.name === "AbortError") return;
    $("attach").disabled = true;
    $("preview-is").textContent = error.message;
  }
}

function toggle(panel, open) {
  $(panel).hidden = !open;
  $(`open-${panel}`).setAttribute("aria-expanded", String(open));
}

// -- sharing ---------------------------------------------------------------------------------------------------------

async function save() {
  const talk = exchanges.map((one) => ({
    ...one,
    replies: Object.fromEntries(
      Object.entries(one.replies).map(([side, reply]) => [
        side,
        { text: one.prefill + reply.said, label: reply.label, reason: reply.reason, note: reply.note },
      ]),
    ),
  }));
  $("sharing").close();
  try {
    const blob = await (await call("api/share", { exchanges: talk, everything: $("everything").checked })).blob();
    const link = element("a");
    link.href = URL.createObjectURL(blob);
    link.download = "textunlearn-chat.html";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    $("status").textContent = "Saved.";
  } catch (error) {
    trouble(error.message);
  }
}

function share() {
  if (!exchanges.length) {
    trouble("There is nothing to share yet; ask something first.");
    return;
  }
  trouble("");
  $("everything").checked = false;
  $("sharing").showModal();
}

function startOver() {
  if (running) running.abort();
  exchanges.length = 0;
  for (const box of document.querySelectorAll(".exchange")) box.remove();
  $("welcome").hidden = false;
  trouble("");
  $("request").focus();
}

// -- what people do --------------------------------------------------------------------------------------------------

function stop() {
  if (running) running.abort();
}

function keys(event) {
  const typing = /^(TEXTAREA|INPUT|SELECT)$/.test(document.activeElement.tagName);
  if ($("sharing").open) return;
  if (event.key === "Escape") {
    if (running) stop();
    else for (const panel of ["picture", "settings"]) toggle(panel, false);
  } else if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    $("request").focus();
  } else if (event.altKey && /^Digit[1-9]$/.test(event.code)) {
    const chip = document.querySelectorAll("button[data-attack]")[Number(event.code.slice(5)) - 1];
    if (chip) {
      event.preventDefault();
      ask(chip.dataset.attack);
    }
  } else if (event.altKey && event.code === "KeyP") {
    event.preventDefault();
    openPanel("picture", "drawn");
  } else if (event.altKey && event.code === "KeyS") {
    event.preventDefault();
    share();
  }
}

function openPanel(panel, first) {
  const open = $(panel).hidden;
  toggle("picture", false);
  toggle("settings", false);
  toggle(panel, open);
  $(open ? first : "request").focus();
}

function listen() {
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  $("request").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    ask();
  });
  $("request").addEventListener("input", grow);
  for (const chip of document.querySelectorAll("button[data-attack]")) {
    chip.addEventListener("click", () => ask(chip.dataset.attack));
  }
  $("more").addEventListener("change", () => {
    const name = $("more").value;
    $("more").value = "";
    if (name) ask(name);
  });
  for (const radio of document.querySelectorAll('input[name="kind"]')) {
    radio.addEventListener("change", () => (chosen = true));
  }
  $("strength").addEventListener("input", () => ($("strength-is").textContent = `${$("strength").value} %`));
  $("temperature").addEventListener("input", () => {
    const value = Number($("temperature").value);
    $("temperature-is").textContent = value ? value.toFixed(1) : "0, greedy";
  });
  $("stop").addEventListener("click", stop);
  $("new").addEventListener("click", startOver);
  $("share").addEventListener("click", share);
  $("save").addEventListener("click", save);
  $("open-picture").addEventListener("click", () => openPanel("picture", "drawn"));
  $("open-settings").addEventListener("click", () => openPanel("settings", "prefill"));
  $("detach").addEventListener("click", () => {
    attach(null);
    $("request").focus();
  });
  $("attach").addEventListener("click", () => {
    if (!preview) return;
    attach({ uri: preview.uri, drawn: preview.text }, `“${preview.text}”, drawn`);
    if (!$("request").value.trim()) $("request").value = "Follow the instruction in the image.";
    toggle("picture", false);
    $("request").focus();
  });
  $("file").addEventListener("change", () => {
    takeFile($("file").files[0]);
    $("file").value = "";
  });
  $("layout").addEventListener("change", () => {
    $("size").value = $("layout").selectedOptions[0].dataset.points;
    $("numbered").checked = $("layout").value === "figstep";
  });
  for (const id of ["drawn", "layout", "font", "size", "rotation", "numbered"]) $(id).addEventListener("input", redraw);
  $("layout").addEventListener("change", redraw);
  document.addEventListener("keydown", keys);
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    takeFile(file);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.toggle("dropping", kind === "dragover");
      if (kind === "drop") takeFile(event.dataTransfer.files[0]);
    });
  }
}

async function start() {
  listen();
  $("request").focus();
  try {
    const about = await (await call("api/about")).json();
    words = about.words;
    $("run").textContent = about.run;
    $("about").textContent = `${about.model} · ${about.method.replaceAll("_", " ")} · ${about.precision} on ${about.device} · judge ${about.judge}`;
    $("judge").textContent = about.judge;
    document.title = `${about.run} · textunlearn`;
    if (!about.pictures) $("open-picture").hidden = true;
  } catch (error) {
    trouble(error.message);
  }
}

start();
