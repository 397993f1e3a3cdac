// The browser of cases. Without it the page shows a sample. Everything from the data becomes text, never markup.
(function () {
  "use strict";
  var holder = document.getElementById("cases-data"), box = document.getElementById("browser");
  if (!holder || !box) return;
  var data = JSON.parse(holder.textContent), PAGE = 24;
  var form = document.getElementById("filter"), list = document.getElementById("found");
  var more = document.getElementById("more"), count = document.getElementById("shown"), unsafe = form.elements.unsafe;
  var moves = document.getElementById("moves"), first = 0, last = data.models.length - 1;
  var found = [], drawn = 0;

  function make(name, text, className) {
    var element = document.createElement(name);
    if (text !== undefined && text !== null) element.textContent = text;
    if (className) element.className = className;
    return element;
  }
  function options(select, texts) {
    texts.map(function (text, place) { return [text, place]; }).sort(function (a, b) {
      return select.name === "suite" ? a[1] - b[1] : a[0] < b[0] ? -1 : 1;
    }).forEach(function (pair) {
      if (!pair[0]) return;
      var option = make("option", pair[0].replace(/_/g, " "));
      option.value = pair[1];
      select.appendChild(option);
    });
    select.parentNode.hidden = texts.filter(Boolean).length < 2;
  }
  function hides(part) { return part.h || (part.x && unsafe && !unsafe.checked); }
  function words(part) {
    if (part === null || part === undefined) return "";
    if (typeof part === "string") return part;
    return hides(part) ? "" : part.t || "";
  }
  function haystack(one) {
    return [words(one.q), words(one.y), words(one.b), one.f, data.categories[one.c], data.suites[one.s]]
      .concat(one.r.map(function (reply) { return words(reply[0]); })).join("\n").toLowerCase();
  }
  function passage(part, what) {
    if (typeof part === "string") return part ? make("span", part, "said") : make("span", "empty", "none");
    if (hides(part)) {
      return make("span", what + " redacted · " + part.n.toLocaleString("en") + " characters · SHA-256 " + part.s, "hidden");
    }
    if (!part.t) return make("span", "empty", "none");
    var said = make("span", part.t, "said");
    if (part.c) said.appendChild(make("span", " … (" + part.n.toLocaleString("en") + " characters)", "none"));
    return said;
  }
  function ask(title, part, what) {
    var line = make("div", null, "ask");
    line.appendChild(make("b", title));
    line.appendChild(document.createTextNode(" "));
    line.appendChild(passage(part, what));
    return line;
  }
  function picture(one) {
    if (!one.u) return make("span", one.m, "none");
    if (!one.h && hides(one)) return make("span", "image redacted", "hidden");
    var image = make("img", null, one.h ? "blocks" : "");
    image.src = one.u;
    image.loading = "lazy";
    image.alt = one.h ? "Attack image, redacted to 12 × 12 blocks" : "Image shown to the model";
    return image;
  }
  function label(value, kind) {
    return make("span", data.labels[kind][value] || value, "label " + (/^[a-z]+$/.test(value) ? value : ""));
  }
  function reply(said, place, one) {
    var box = make("div", null, "reply"), head = make("p"), redacted = said[0] !== null && hides(said[0]);
    head.appendChild(make("i", null, "m" + place % 6));
    head.appendChild(make("b", data.models[place]));
    box.appendChild(head);
    if (said[0] === null) { box.appendChild(make("span", "no answer recorded", "none")); return box; }
    head.appendChild(label(said[1], one.k));
    box.appendChild(passage(said[0], "answer"));
    var judges = make("ul", null, "judges");
    function verdict(name, value, reason) {
      var line = make("li"), why = data.reasons[reason];
      line.appendChild(make("span", name + ": "));
      line.appendChild(label(value, one.k));
      if (why && !redacted) line.appendChild(make("span", " – " + why));
      judges.appendChild(line);
    }
    if (said[1] && ((data.reasons[said[2]] && !redacted) || said[3])) verdict(data.judge, said[1], said[2]);
    (said[3] || []).forEach(function (other) { verdict(data.judges[other[0]], other[1], other[2]); });
    if (judges.children.length) box.appendChild(judges);
    return box;
  }
  function card(one) {
    var item = make("li", null, "case" + (one.p ? " pictured" : ""));
    if (one.p) {
      var pictures = make("div", null, "picture");
      one.p.forEach(function (place) { pictures.appendChild(picture(data.pictures[place])); });
      item.appendChild(pictures);
    }
    var body = make("div", null, "body"), tags = make("p", null, "tags"), replies = make("div", null, "replies");
    [data.suites[one.s], data.attacks[one.a], data.categories[one.c].replace(/_/g, " "), one.f].forEach(function (text) {
      if (text) tags.appendChild(make("span", text));
    });
    tags.appendChild(make("code", one.i));
    body.appendChild(tags);
    body.appendChild(ask("Request", one.q, "request"));
    if (one.y) body.appendChild(ask("Typed", one.y, "typed text"));
    if (one.b) body.appendChild(ask("Answer begun with", one.b, "beginning"));
    one.r.forEach(function (said, place) { replies.appendChild(reply(said, place, one)); });
    body.appendChild(replies);
    item.appendChild(body);
    return item;
  }
  function draw() {
    found.slice(drawn, drawn + PAGE).forEach(function (one) { list.appendChild(card(one)); });
    drawn = Math.min(found.length, drawn + PAGE);
    more.hidden = drawn >= found.length;
    more.textContent = "Show " + Math.min(PAGE, found.length - drawn) + " more";
    count.textContent = found.length.toLocaleString("en") + " of " + data.cases.length.toLocaleString("en") +
      " cases" + (found.length > drawn ? ", " + drawn + " shown" : "");
  }
  function tally(cases) {
    if (!moves) return;
    var counts = {};
    cases.forEach(function (one) {
      var key = one.r[first][1] + " " + one.r[last][1];
      counts[key] = (counts[key] || 0) + 1;
    });
    moves.querySelectorAll("button").forEach(function (button) {
      var number = counts[button.dataset.before + " " + button.dataset.after] || 0;
      button.textContent = number;
      button.setAttribute("aria-label", button.dataset.said + ": " + number + " cases");
      button.disabled = !number;
      var chosen = form.elements.before.value === button.dataset.before && form.elements.after.value === button.dataset.after;
      button.setAttribute("aria-pressed", chosen);
    });
  }
  function apply() {
    var at = {};
    ["kind", "suite", "attack", "category", "before", "after"].forEach(function (name) {
      at[name] = form.elements[name] ? form.elements[name].value : "";
    });
    var search = form.elements.words.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    var base = data.cases.filter(function (one) {
      if (at.kind && (one.k === "harmful") !== (at.kind === "harmful")) return false;
      if (at.suite && one.s !== +at.suite) return false;
      if (at.attack && one.a !== +at.attack) return false;
      if (at.category && one.c !== +at.category) return false;
      if (!search.length) return true;
      var text = haystack(one);
      return search.every(function (word) {
        return text.indexOf(word) >= 0 || (word.length > 5 && one.i.indexOf(word) === 0);
      });
    });
    tally(base);
    found = base.filter(function (one) {
      var a = one.r[first][1], b = one.r[last][1];
      return (!at.before || a === at.before) && (!at.after || (at.after === "changed" ? a !== b : b === at.after));
    });
    list.textContent = "";
    drawn = 0;
    draw();
  }

  options(form.elements.suite, data.suites);
  options(form.elements.attack, data.attacks);
  options(form.elements.category, data.categories);
  if (moves) {
    moves.querySelectorAll("td[data-before]").forEach(function (cell) {
      var button = make("button", cell.textContent);
      button.type = "button";
      button.dataset.before = cell.dataset.before;
      button.dataset.after = cell.dataset.after;
      button.dataset.said = cell.dataset.said;
      button.addEventListener("click", function () {
        var chosen = button.getAttribute("aria-pressed") === "true";
        form.elements.before.value = chosen ? "" : button.dataset.before;
        form.elements.after.value = chosen ? "" : button.dataset.after;
        apply();
      });
      cell.textContent = "";
      cell.appendChild(button);
    });
  }
  form.addEventListener("input", apply);
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  form.addEventListener("reset", function () { window.setTimeout(apply, 0); });
  more.addEventListener("click", function () {
    var place = drawn;
    draw();
    var next = list.children[place];
    if (next) { next.tabIndex = -1; next.focus(); }
  });
  document.documentElement.classList.add("scripted");
  box.hidden = false;
  apply();
})();
