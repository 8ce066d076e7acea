// Theme, drawer, and a word when the server is gone. Axes read CSS variables by themselves; curves are coloured here, by the variable that their tag names.
(function () {
  const root = document.documentElement
  const dark = window.matchMedia("(prefers-color-scheme: dark)")
  const chosen = () => root.dataset.theme ?? (dark.matches ? "dark" : "light")

  function remember() {
    // A cookie, so that the server draws the next page in these colours from the start.
    document.cookie = `cflows-theme=${chosen()}; path=/; max-age=31536000; samesite=lax`
  }

  function color() {
    const style = getComputedStyle(root)
    for (const document of window.Bokeh?.documents ?? []) {
      for (const model of document.all_models ?? document._all_models.values()) {
        const tag = (model.tags ?? []).find((tag) => String(tag).startsWith("color:"))
        if (tag) paint(model.glyph ?? model, style.getPropertyValue(`--${tag.slice(6)}`).trim())
        const colors = (model.tags ?? []).find((tag) => String(tag).startsWith("palette:"))
        if (colors) model.setv({palette: colors.slice(8).split(",").map((name) => style.getPropertyValue(`--${name}`).trim())}, {sync: false})
      }
    }
    wipe()
    window.dispatchEvent(new Event("resize"))
  }

  function wipe() {
    // Bokeh draws half a pixel off, and would leave a line of the former colour at the canvases' edges.
    for (const view of Object.values(window.Bokeh?.index?.roots ?? [])) {
      for (const layer of [view.canvas_view?.primary, view.canvas_view?.overlays]) {
        if (!layer?.ctx) continue
        layer.ctx.save()
        layer.ctx.setTransform(1, 0, 0, 1, 0, 0)
        layer.ctx.clearRect(0, 0, layer.canvas.width, layer.canvas.height)
        layer.ctx.restore()
      }
    }
  }

  function paint(model, value) {
    const fresh = {}
    for (const name of ["line_color", "fill_color", "text_color"]) {
      if (model.properties[name] != null) fresh[name] = model.type === "Span" ? value : {value}
    }
    model.setv(fresh, {sync: false})
  }

  function turn(theme) {
    if (theme) {
      root.dataset.theme = theme
      try { localStorage.setItem("cflows-theme", theme) } catch { /* private window: the choice lasts as long as the page */ }
    }
    remember()
    color()
  }

  // Do something in the colours of paper, with panels of its format.
  window.cflowsOnPaper = async (work) => {
    const former = root.dataset.theme
    root.dataset.theme = "light"
    root.dataset.paper = ""
    color()
    try { return await work() } finally {
      delete root.dataset.paper
      if (former) root.dataset.theme = former
      else delete root.dataset.theme
      color()
    }
  }

  const theme = document.getElementById("theme")
  theme.addEventListener("click", () => turn(chosen() === "dark" ? "light" : "dark"))
  dark.addEventListener("change", () => turn())

  const app = document.querySelector(".app")
  const menu = document.getElementById("menu")
  const content = document.querySelector("main")
  function drawer(open) {
    app.classList.toggle("open", open)
    menu.setAttribute("aria-expanded", String(open))
    content.inert = open // what lies under the veil is out of the keyboard's reach
    if (open) theme.focus()
    else menu.focus()
  }
  menu.addEventListener("click", () => drawer(!app.classList.contains("open")))
  document.querySelector(".veil").addEventListener("click", () => drawer(false))
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && app.classList.contains("open")) drawer(false) })
  window.matchMedia("(max-width: 1100px)").addEventListener("change", () => drawer(false)) // a window made wide has no drawer

  // A run lives as long as its page: another page opens beside it, or comes to the front with what it shows.
  const windowOf = (title) => `cflows-${title.toLowerCase().replace(" ", "")}`
  for (const link of document.querySelectorAll("[data-page]")) {
    if (link.hasAttribute("aria-current")) window.name = windowOf(link.dataset.page)
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return
      event.preventDefault()
      if (link.hasAttribute("aria-current")) return
      const other = window.open("", windowOf(link.dataset.page))
      if (!other) return location.assign(link.href) // the browser allows no other window
      if (other.location.href === "about:blank") other.location.assign(link.href)
      other.focus()
    })
  }

  remember()
  const server = document.body.dataset.theme
  const waiting = setInterval(() => {
    const ready = window.Bokeh?.documents?.length && window.Bokeh.documents[0].is_idle
    if (!ready) return
    clearInterval(waiting)
    root.dataset.ready = "true"
    if (server !== chosen()) color()
    // Curves that are added later come in the colours in which the server drew the page.
    window.Bokeh.documents[0].on_change((change) => { if (change.attr === "renderers" && server !== chosen()) color() })
    const lost = document.getElementById("lost")
    window.Bokeh.documents[0].on_event("connection_lost", () => { lost.hidden = false })
    window.Bokeh.documents[0].on_event("client_reconnected", () => { lost.hidden = true })
  }, 30)
})()
