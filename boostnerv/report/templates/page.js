"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const root = document.documentElement;
  const videoChoice = byId("video-choice");
  const chosenVideo = () => (videoChoice ? videoChoice.value : "");
  const color = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  function element(tag, properties = {}, children = []) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function escaped(text) {
    return element("span", { textContent: text }).innerHTML;
  }

  // --- light and dark -----------------------------------------------------------------------------------------

  const prefersDark = matchMedia("(prefers-color-scheme: dark)");

  function remembered() {
    try { return localStorage.getItem("boostnerv-theme"); } catch { return null; }
  }

  function setTheme(dark) {
    root.dataset.theme = dark ? "dark" : "light";
    byId("theme").textContent = dark ? "Light" : "Dark";
    byId("theme").setAttribute("aria-pressed", String(dark));
    drawAll();
  }

  byId("theme").addEventListener("click", () => {
    const dark = root.dataset.theme !== "dark";
    try { localStorage.setItem("boostnerv-theme", dark ? "dark" : "light"); } catch { /* not kept */ }
    setTheme(dark);
  });
  prefersDark.addEventListener("change", (event) => { if (!remembered()) setTheme(event.matches); });

  // --- curves -------------------------------------------------------------------------------------------------

  const SYMBOLS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "hexagon"];
  const DASHES = ["solid", "dash", "dot", "dashdot"];
  // Of curves by what they are of: ours, classical codecs, published ones.
  const LINES = { model: "solid", anchor: "dash", published: "dot" };
  const CONFIG = {
    responsive: true, displaylogo: false, scrollZoom: false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  };
  // One look for each codec, the same in all figures of the page.
  const codecs = [...new Set(data.quality.flatMap((video) => video.curves.map((curve) => curve.name)))];
  const anchors = new Set(data.quality.flatMap((video) => video.curves.filter((curve) => curve.kind === "anchor").map((curve) => curve.name)));
  const models = codecs.filter((name) => !anchors.has(name));
  const classical = codecs.filter((name) => anchors.has(name));
  const hidden = new Set();

  function lineColor(codec, otherwise) {
    if (anchors.has(codec)) return color(`--a${classical.indexOf(codec) % 4}`);
    const index = models.indexOf(codec);
    return color(`--c${(index < 0 ? otherwise : index) % 8}`);
  }

  // One row of buttons for the figures of a section: each shows or hides its curve in all of them.
  function legend(id, section, curves, redraw) {
    byId(id).replaceChildren(...curves.map(({ name, shown, dash }) => {
      const key = `${section} ${name}`;
      const line = element("i", { className: dash === "solid" ? "" : dash === "dash" ? "dash" : "dot" });
      line.style.borderTopColor = shown;
      const button = element("button", { type: "button" }, [line, name]);
      button.setAttribute("aria-pressed", String(!hidden.has(key)));
      button.addEventListener("click", () => {
        if (!hidden.delete(key)) hidden.add(key);
        button.setAttribute("aria-pressed", String(!hidden.has(key)));
        redraw();
      });
      return button;
    }));
  }

  function layout(xTitle, yTitle, more = {}) {
    const axis = (title) => ({
      title: { text: title, standoff: 8 }, gridcolor: color("--grid"), linecolor: color("--line"), zeroline: false,
      automargin: true, tickfont: { color: color("--soft") },
    });
    const narrow = innerWidth < 700;
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: narrow ? 11 : 12.5, color: color("--ink") },
      margin: { l: 8, r: 12, t: 12, b: 8 }, hovermode: "closest", dragmode: narrow ? false : "zoom",
      hoverlabel: { bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--ink") } },
      showlegend: false,
      modebar: { color: color("--soft"), activecolor: color("--accent"), bgcolor: "rgba(0,0,0,0)" },
      xaxis: { ...axis(xTitle), ...(more.xaxis || {}) }, yaxis: { ...axis(yTitle), ...(more.yaxis || {}) },
    };
  }

  function rateOf(curve, point) {
    if (curve.kind === "published") return `${point.x.toFixed(4)} bpp, published in ${escaped(curve.source)}`;
    if (point.bytes === null) return `${point.size} parameters`;
    return `${Math.round(point.bytes).toLocaleString("en")} bytes, ${point.x.toFixed(4)} bpp`;
  }

  const METRICS = { psnr_db: ["plot-psnr", "PSNR (dB)", 2, " dB"], ms_ssim: ["plot-ms-ssim", "MS-SSIM", 4, ""] };

  function drawQuality(redone = true) {
    const video = data.quality.find((each) => each.video === chosenVideo()) || data.quality.at(-1);
    if (!video) return;
    byId("curves-title").textContent = video.coded ? "Quality over rate" : "Quality over parameters";
    byId("curves-note").textContent = video.title;
    const logarithmic = byId("log-rate").checked;
    const looks = video.curves.map(({ name, kind }) =>
      ({ name, shown: lineColor(name, codecs.indexOf(name)), dash: LINES[kind] }));
    if (redone) legend("curves-shown", "curve", looks, () => drawQuality(false));
    for (const [metric, [id, name, digits, unit]] of Object.entries(METRICS)) {
      const traces = video.curves.map((curve) => {
        const points = curve.points.filter((point) => point[metric] !== null);
        const index = codecs.indexOf(curve.name);
        const shown = lineColor(curve.name, index);
        return {
          type: "scatter", mode: "lines+markers", name: escaped(curve.name), visible: !hidden.has(`curve ${curve.name}`),
          x: points.map((point) => point.x), y: points.map((point) => point[metric]),
          error_y: {
            type: "data", visible: points.some((point) => point[`${metric}_std`] !== null), thickness: 1.2,
            array: points.map((point) => point[`${metric}_std`] || 0), color: shown,
          },
          text: points.map((point) => [
            `<b>${escaped(point.run || curve.name)}</b>${point.label ? `, ${escaped(point.label)}` : ""}`,
            `${point[metric].toFixed(digits)}${unit}`,
            rateOf(curve, point),
            ...(point.seeds > 1 ? [`mean of ${point.seeds} seeds`] : []),
          ].join("<br>")),
          hovertemplate: "%{text}<extra></extra>",
          line: { color: shown, width: 2, dash: LINES[curve.kind] },
          marker: { color: shown, size: 9, symbol: SYMBOLS[index % SYMBOLS.length] + (curve.kind === "published" ? "-open" : "") },
        };
      }).filter((trace) => trace.x.length);
      byId(id).hidden = !traces.length;
      if (!traces.length) { Plotly.purge(byId(id)); continue; }
      Plotly.react(id, traces, layout(video.x, name, { xaxis: { type: logarithmic ? "log" : "linear" } }), CONFIG);
    }
  }

  function drawTraining(redone = true) {
    if (!data.training.length) return;
    const video = chosenVideo();
    const shown = data.training.filter((each) => !video || each.video === video);
    const several = new Set(shown.map((each) => each.video)).size > 1;
    const label = (each) => (several ? `${each.video} ${each.run}` : each.run);
    const looks = shown.map((each, index) => {
      const alike = shown.slice(0, index).filter((other) => codecOf(other) === codecOf(each)).length;
      return { name: label(each), shown: lineColor(codecOf(each), index), dash: DASHES[alike % DASHES.length] };
    });
    if (redone) legend("training-shown", "training", looks, () => drawTraining(false));
    for (const [key, id, name, type] of [
      ["psnr_db", "plot-training-psnr", "PSNR (dB)", "linear"], ["loss", "plot-training-loss", "loss", "log"],
    ]) {
      const traces = shown.map((each, index) => {
        const look = looks[index];
        return {
          type: "scatter", mode: each[key].length > 1 ? "lines" : "markers", name: escaped(look.name),
          visible: !hidden.has(`training ${look.name}`),
          x: each[key].map((pair) => pair[0]), y: each[key].map((pair) => pair[1]),
          hovertemplate: `<b>${escaped(look.name)}</b><br>epoch %{x}: %{y:.4g}<extra></extra>`,
          line: { color: look.shown, width: 2, dash: look.dash }, marker: { color: look.shown },
        };
      }).filter((trace) => trace.x.length);
      byId(id).hidden = !traces.length;
      if (traces.length) Plotly.react(id, traces, layout("epoch", name, { yaxis: type === "log" ? { type, tickformat: "~g", nticks: 6 } : {} }), CONFIG);
    }
  }

  // The longest codec that a run's name begins with: hnerv-boost-0.5M is no hnerv.
  function codecOf(each) {
    const found = codecs.filter((codec) => each.run === codec || each.run.startsWith(`${codec}-`));
    return found.sort((a, b) => b.length - a.length)[0];
  }

  function drawAll() {
    drawQuality();
    drawTraining();
  }

  byId("log-rate").addEventListener("change", () => drawQuality());

  // --- tables -------------------------------------------------------------------------------------------------

  const numeric = (text) => (text !== undefined && text !== "" && Number.isFinite(Number(text)) ? Number(text) : null);

  function compare(a, b) {
    const [x, y] = [numeric(a), numeric(b)];
    return x !== null && y !== null ? x - y : String(a).localeCompare(String(b), "en", { numeric: true });
  }

  function sort(table, column) {
    const headings = [...table.tHead.rows[0].cells];
    // The first click on numbers shows the largest first.
    const first = headings[column].classList.contains("number") ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = headings[column].getAttribute("aria-sort") === first ? other : first;
    headings.forEach((heading, index) => heading.setAttribute("aria-sort", index === column ? order : "none"));
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [row.cells[column].dataset.key, row]);
    rows.sort(([a], [b]) => {
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return sign * compare(a, b);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  for (const table of document.querySelectorAll("#tables table")) {
    [...table.tHead.rows[0].cells].forEach((heading, column) =>
      heading.firstElementChild.addEventListener("click", () => sort(table, column)));
  }

  function filterRows() {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const video = chosenVideo();
    for (const row of document.querySelectorAll("#tables tbody tr")) {
      const text = row.textContent.toLowerCase();
      row.hidden = (video && row.dataset.video !== video) || !words.every((word) => text.includes(word));
    }
    for (const run of document.querySelectorAll("details.run")) run.hidden = video && run.dataset.video !== video;
  }

  byId("filter").addEventListener("input", filterRows);

  // A shadow tells on which side a table goes on.
  for (const scroll of document.querySelectorAll(".scroll")) {
    const tell = () => {
      const left = scroll.scrollWidth - scroll.clientWidth - scroll.scrollLeft;
      scroll.parentElement.classList.toggle("before", scroll.scrollLeft > 1);
      scroll.parentElement.classList.toggle("after", left > 1);
    };
    scroll.addEventListener("scroll", tell, { passive: true });
    new ResizeObserver(tell).observe(scroll);
  }

  // --- videos -------------------------------------------------------------------------------------------------

  const addresses = new Map();

  function address(id) {
    if (!addresses.has(id)) {
      const bytes = Uint8Array.from(atob(byId(id).textContent.split(",")[1]), (letter) => letter.charCodeAt(0));
      addresses.set(id, URL.createObjectURL(new Blob([bytes], { type: "video/mp4" })));
    }
    return addresses.get(id);
  }

  const size = (bytes) => (bytes >= 1e6 ? `${(bytes / 1e6).toFixed(2)} MB` : `${(bytes / 1e3).toFixed(1)} kB`);

  function described(choice) {
    const parts = [choice.name];
    if (choice.bytes) parts.push(size(choice.bytes));
    if (choice.psnr_db !== null && choice.psnr_db !== undefined) parts.push(`${choice.psnr_db.toFixed(2)} dB`);
    return parts.join(" · ");
  }

  function matched(left, right) {
    if (!left.bytes || !right.bytes || left === right) return "";
    const percent = 100 * (left.bytes / right.bytes - 1);
    const difference = left.psnr_db - right.psnr_db;
    return `${left.name} is ${Math.abs(percent).toFixed(percent > -10 && percent < 10 ? 1 : 0)} % `
      + `${percent < 0 ? "smaller" : "larger"} than ${right.name}, at ${Math.abs(difference).toFixed(2)} dB `
      + `${difference < 0 ? "less" : "more"} PSNR.`;
  }

  function player(told) {
    const choice = (name) => told.choices.find((each) => each.name === name);
    const select = (name, label) => element("select", { value: name, ariaLabel: label }, told.choices.map((each) =>
      element("option", { value: each.name, textContent: described(each), selected: each.name === name })));
    const [leftSelect, rightSelect] = [select(told.left, "Left video"), select(told.right, "Right video")];
    const swap = element("button", { type: "button", textContent: "⇄", title: "Swap", ariaLabel: "Swap the two videos" });
    const video = () => element("video", { muted: true, playsInline: true, preload: "auto", tabIndex: -1 });
    const [under, over] = [video(), video()];
    const line = element("div", { className: "line" });
    const tags = ["left", "right"].map((side) => element("span", { className: `tag ${side}` }));
    const stage = element("div", { className: "stage" }, [under, over, line, ...tags]);
    stage.style.aspectRatio = `${told.width} / ${told.height}`;
    const range = (label, max, value) => element("input", { type: "range", min: 0, max, value, step: 1, ariaLabel: label });
    const wipe = range("Where the left video ends", 100, 50);
    wipe.classList.add("wipe");
    const seek = range("Frame", 1, 0);
    const button = (text, label) => element("button", { type: "button", textContent: text, ariaLabel: label, title: label });
    const [back, play, next] = [button("◂", "One frame back (,)"), button("Play", "Play or pause (Space)"), button("▸", "One frame on (.)")];
    play.classList.add("play");
    const speed = element("select", { ariaLabel: "Speed" }, ["1", "0.5", "0.25", "0.1"].map((value) =>
      element("option", { value, textContent: `${value}×` })));
    const pixels = element("input", { type: "checkbox" });
    const frame = element("span", { className: "frame" });
    const match = element("p", { className: "match" });
    const whole = element("div", { className: "player" }, [
      element("h3", { textContent: `${told.video}, ${told.width}×${told.height}` }),
      element("div", { className: "choices" }, [
        element("label", { textContent: "Left" }, [leftSelect]), swap, element("label", { textContent: "Right" }, [rightSelect]),
      ]),
      stage,
      element("div", { className: "controls" }, [
        element("label", { className: "wide", textContent: "Wipe" }, [wipe]),
        element("label", { className: "wide", textContent: "Frame" }, [seek]),
        element("div", { className: "row" }, [
          back, play, next, speed, element("label", { className: "check" }, [pixels, " show pixels"]), frame,
        ]),
      ]),
      match,
    ]);

    const count = () => Math.max(1, Math.round((over.duration || 1 / told.fps) * told.fps));
    const current = () => Math.min(count() - 1, Math.floor(over.currentTime * told.fps + 1e-3));
    const both = (act) => [over, under].forEach(act);

    function showWipe() {
      over.style.clipPath = `inset(0 ${100 - wipe.value}% 0 0)`;
      line.style.left = `${wipe.value}%`;
    }

    function showFrame() {
      seek.max = count() - 1;
      seek.value = current();
      frame.textContent = `frame ${current() + 1} of ${count()}`;
    }

    function goTo(number) {
      pause();
      const target = Math.min(count() - 1, Math.max(0, number));
      // The middle of a frame: its beginning may round to the one before.
      both((each) => { each.currentTime = (target + 0.5) / told.fps; });
      showFrame();
    }

    function load() {
      const time = over.currentTime;
      pause();
      [[over, leftSelect.value], [under, rightSelect.value]].forEach(([each, name], index) => {
        const wanted = address(choice(name).element);
        if (each.src !== wanted) each.src = wanted;
        each.currentTime = time;
        tags[index].textContent = described(choice(name));
      });
      match.textContent = matched(choice(leftSelect.value), choice(rightSelect.value));
    }

    function pause() {
      both((each) => each.pause());
      play.textContent = "Play";
    }

    function follow() {
      if (over.paused) return;
      if (Math.abs(under.currentTime - over.currentTime) > 0.5 / told.fps) under.currentTime = over.currentTime;
      showFrame();
      requestAnimationFrame(follow);
    }

    async function start() {
      both((each) => { each.playbackRate = Number(speed.value); });
      under.currentTime = over.currentTime;
      play.textContent = "Pause";
      try { await Promise.all([over.play(), under.play()]); } catch { pause(); return; }
      follow();
    }

    const toggle = () => (over.paused ? start() : pause());
    over.addEventListener("ended", () => { both((each) => { each.currentTime = 0; }); start(); });
    over.addEventListener("loadedmetadata", showFrame);
    over.addEventListener("seeked", showFrame);
    [leftSelect, rightSelect].forEach((each) => each.addEventListener("change", load));
    swap.addEventListener("click", () => {
      [leftSelect.value, rightSelect.value] = [rightSelect.value, leftSelect.value];
      load();
    });
    wipe.addEventListener("input", showWipe);
    seek.addEventListener("input", () => goTo(Number(seek.value)));
    play.addEventListener("click", toggle);
    back.addEventListener("click", () => goTo(current() - 1));
    next.addEventListener("click", () => goTo(current() + 1));
    speed.addEventListener("change", () => both((each) => { each.playbackRate = Number(speed.value); }));
    pixels.addEventListener("change", () => stage.classList.toggle("pixels", pixels.checked));
    const drag = (event) => {
      const box = stage.getBoundingClientRect();
      wipe.value = Math.round((100 * (event.clientX - box.left)) / box.width);
      showWipe();
    };
    stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); drag(event); });
    stage.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
    const keys = { " ": toggle, ",": () => goTo(current() - 1), ".": () => goTo(current() + 1) };
    showWipe();
    return { whole, stage, load, pause, keys };
  }

  const players = [];

  function showPlayers() {
    const list = byId("player-list");
    if (!list) return;
    players.splice(0).forEach((each) => each.pause());
    // Each player holds two open videos: with many videos one is shown at a time.
    const shown = data.players.filter((each) => each.video === chosenVideo());
    const wanted = shown.length ? shown : chosenVideo() ? [] : data.players.slice(0, 1);
    players.push(...wanted.map(player));
    list.replaceChildren(...players.map((each) => each.whole));
    if (!players.length) list.textContent = "This video has none in the page.";
    players.forEach((each) => each.load());
  }

  function inView(stage) {
    const box = stage.getBoundingClientRect();
    return box.bottom > 0 && box.top < innerHeight;
  }

  const TYPED_INTO = "textarea, select, input:not([type='range']):not([type='checkbox']), [contenteditable]";
  const PRESSED_BY_SPACE = "button, summary, input[type='checkbox']";

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches(TYPED_INTO)) return;
    if (event.key === " " && event.target.matches(PRESSED_BY_SPACE)) return;
    const shown = players.find((each) => each.whole.contains(event.target)) || players.find((each) => inView(each.stage));
    if (!shown || !shown.keys[event.key]) return;
    event.preventDefault();
    shown.keys[event.key]();
  });

  // --- runs ---------------------------------------------------------------------------------------------------

  function openTarget() {
    const target = location.hash ? byId(decodeURIComponent(location.hash.slice(1))) : null;
    if (!target || target.tagName !== "DETAILS") return;
    target.hidden = false;
    target.open = true;
    target.scrollIntoView();
    target.firstElementChild.focus({ preventScroll: true });
  }

  addEventListener("hashchange", openTarget);
  byId("open-all").addEventListener("click", (event) => {
    const all = [...document.querySelectorAll("details.run")];
    const open = all.some((each) => !each.open);
    all.forEach((each) => { each.open = open; });
    event.target.textContent = open ? "Close all" : "Open all";
  });

  if (videoChoice) videoChoice.addEventListener("change", () => { drawAll(); filterRows(); showPlayers(); });
  setTheme(remembered() ? remembered() === "dark" : prefersDark.matches);
  showPlayers();
  openTarget();
})();
