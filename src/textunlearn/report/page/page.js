// What every page of ours does with a script: it works without one.
(function () {
  "use strict";
  var root = document.documentElement, choice = document.getElementById("theme"), key = "textunlearn-theme";
  function stored(value) {
    try {
      if (value === undefined) return window.localStorage.getItem(key) || "";
      window.localStorage.setItem(key, value);
    } catch (error) { /* a page from disk may not be given a store */ }
    return "";
  }
  function apply(theme) {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme; else delete root.dataset.theme;
  }
  if (choice) {
    choice.parentNode.hidden = false;
    choice.value = stored() || "";
    if (choice.selectedIndex < 0) choice.value = "";
    apply(choice.value);
    choice.addEventListener("change", function () { apply(choice.value); stored(choice.value); });
  }
  // On paper nothing is folded away.
  var opened = [];
  window.addEventListener("beforeprint", function () {
    opened = Array.prototype.slice.call(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (one) { one.open = true; });
  });
  window.addEventListener("afterprint", function () {
    opened.forEach(function (one) { one.open = false; });
  });
})();
