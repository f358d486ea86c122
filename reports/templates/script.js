"use strict";
(() => {
  document.documentElement.classList.add("js");
  const tip = document.getElementById("tip");

  const hide = () => { tip.hidden = true; };
  const show = (target, x, y) => {
    const [head, ...rest] = target.dataset.tip.split("\n");
    tip.replaceChildren(Object.assign(document.createElement("strong"), { textContent: head }),
      ...rest.map((line) => Object.assign(document.createElement("div"), { textContent: line })));
    tip.hidden = false;
    const box = tip.getBoundingClientRect(), width = document.documentElement.clientWidth;
    tip.style.left = Math.max(6, Math.min(x + 14, width - box.width - 6)) + "px";
    tip.style.top = (y + 18 + box.height > innerHeight ? Math.max(6, y - box.height - 12) : y + 18) + "px";
  };

  // The browser's own tooltips stand in <title> and title=; ours take their place where there is a script.
  const targets = [];
  for (const title of document.querySelectorAll("svg title")) {
    targets.push(title.parentNode);
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }
  for (const element of document.querySelectorAll("main [title]")) {
    targets.push(element);
    element.dataset.tip = element.title;
    element.removeAttribute("title");
  }
  document.addEventListener("mousemove", (event) => {
    const target = event.target.closest("[data-tip]");
    if (target) show(target, event.clientX, event.clientY);
    else if (!document.activeElement?.matches("[data-tip]")) hide();
  });
  const showFocused = () => {
    const target = document.activeElement?.closest("[data-tip]");
    if (!target) return hide();
    const box = target.getBoundingClientRect();
    show(target, box.left + box.width / 2, box.top + box.height / 2);
  };
  document.addEventListener("focusin", showFocused);
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", showFocused, { passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // One stop of the tab key a picture; arrows go through its marks from left to right.
  for (const chart of document.querySelectorAll(".chart")) {
    const marks = [...chart.querySelectorAll(".mark, rect[data-tip]")];
    const place = new Map(marks.map((mark) => [mark, mark.querySelector(".dot")?.getBBox().x ?? mark.getBBox().x]));
    marks.sort((a, b) => place.get(a) - place.get(b));
    marks.forEach((mark, index) => {
      mark.setAttribute("tabindex", index ? "-1" : "0");
      mark.setAttribute("role", "img");
      mark.setAttribute("aria-label", mark.dataset.tip);
    });
    chart.addEventListener("keydown", (event) => {
      const at = marks.indexOf(document.activeElement);
      const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: marks.length - 1 }[event.key];
      if (at < 0 || to === undefined || !marks[to]) return;
      event.preventDefault();
      marks[at].setAttribute("tabindex", "-1");
      marks[to].setAttribute("tabindex", "0");
      marks[to].focus({ preventScroll: true });
    });
  }

  // The clipboard needs a secure page, which not every browser sees in a file: then a selection is copied.
  const copy = async (pre) => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(pre);
      return document.execCommand("copy");
    }
  };
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      button.textContent = (await copy(button.previousElementSibling)) ? "Copied" : "Press Ctrl+C";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
})();
