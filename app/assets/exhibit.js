// A figure's words above its panels, or, where none is chosen, all figures in small.
const VERDICTS = ["reproduced", "partly", "not reproduced"]

export function render({model}) {
  const tell = converse(model, draw)
  const root = h("article", {class: "exhibit"})
  const asked = new URLSearchParams(location.search)
  let drawn = "", wanted = null // the verdict that the overview is narrowed to

  // The panels stand outside, in the page's grid.
  function arrange(titles) {
    const grid = document.getElementById("plots")
    ;[...grid.querySelectorAll("article.card")].forEach((card, i) => {
      card.hidden = i >= titles.length
      if (i < titles.length) {
        card.querySelector("h2").textContent = titles[i]
        card.setAttribute("aria-label", titles[i])
      }
    })
    grid.hidden = !titles.length
    document.body.dataset.panels = titles.length
    window.dispatchEvent(new Event("resize"))
  }

  function address(name) {
    const query = new URLSearchParams()
    if (name) query.set("figure", name)
    for (const key of ["hide"]) if (asked.get(key)) query.set(key, asked.get(key))
    const url = `${location.pathname}${query.size ? `?${query}` : ""}`
    if (url !== location.pathname + location.search) history.replaceState(null, "", url)
  }

  function thumbnail(sketch) {
    return h("svg", {class: "sketch", viewBox: "0 0 320 180", "aria-hidden": "true"},
      sketch.map(({d, color, width, dash, alpha}) => h("path", {d, fill: "none", style: `stroke: var(--${color}); stroke-width: ${1.5 * width}; stroke-dasharray: ${dash.join(" ") || "none"}; opacity: ${alpha}`})))
  }

  function overview(groups) {
    const figures = groups.flatMap((group) => group.figures)
    const count = (verdict) => figures.filter((figure) => figure.verdict === verdict).length
    const narrow = (verdict) => { wanted = wanted === verdict ? null : verdict; drawn = ""; draw() }
    const chips = VERDICTS.map((verdict) => h("button", {type: "button", class: "narrow", "aria-pressed": String(wanted === verdict), onclick: () => narrow(verdict)}, disc(verdict), ` ${count(verdict)} ${verdict}`))
    return [
      h("h2", {tabindex: -1}, "The papers’ figures, computed again"),
      h("p", {}, "Each is drawn from runs of small networks that this machine can compute, with a measurement for every statement that the paper makes of it. Choose one to see what agrees, and what does not."),
      h("div", {class: "chips", role: "group", "aria-label": "Only figures that are"}, chips),
      ...groups.map(({title, figures}) => {
        const shown = figures.filter((figure) => !wanted || figure.verdict === wanted)
        return shown.length ? h("section", {}, h("h3", {}, title), h("ul", {class: "walls"}, shown.map(({name, number, title, verdict, sketch}) =>
          h("li", {}, h("button", {type: "button", class: "hung", onclick: () => tell({figure: name})},
            thumbnail(sketch), h("span", {class: "under"}, disc(verdict), h("span", {}, h("b", {}, number), ` ${title}`))))))) : null
      }),
    ]
  }

  function figure({source, title, caption, verdict, claims, explore, preset, toy}) {
    const held = claims.filter(([, , holds]) => holds).length
    return [
      h("p", {class: "lesson"}, source),
      h("h2", {tabindex: -1}, title),
      h("p", {class: "caption"}, caption),
      h("p", {class: "facts"}, disc(verdict), h("b", {}, verdict[0].toUpperCase() + verdict.slice(1)), `${held} of ${claims.length} ${claims.length === 1 ? "statement holds" : "statements hold"}`,
        explore ? h("a", {href: explore, target: "cflows-explore", title: `The preset “${preset}” with all controls`}, "Open in Explore") : null,
        toy ? h("a", {href: toy, target: "cflows-toylab", title: "The same, with a learning rate to change"}, "Open in the toy lab") : null),
    ]
  }

  function draw() {
    const {about = {}, groups = []} = model.state
    const signature = JSON.stringify([about, groups.length, wanted])
    if (signature === drawn) return
    const first = drawn === ""
    drawn = signature
    const parts = about.name ? figure(about) : overview(groups)
    root.replaceChildren(...parts.filter(Boolean))
    root.classList.toggle("overview", !about.name)
    arrange(about.panels ?? [])
    address(about.name)
    if (!first) { root.querySelector("h2").focus({preventScroll: true}); window.scrollTo(0, 0) } // read aloud from here
  }

  draw()
  return root
}
