// All plots or one as a picture, with titles and legends as they stand in the page: SVG, or PNG at twice the screen's resolution.
(function () {
  const SVG = "http://www.w3.org/2000/svg"
  const MARGIN = 8

  function make(tag, attributes, text) {
    const element = document.createElementNS(SVG, tag)
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
    if (text != null) element.textContent = text
    return element
  }

  // Components stand in shadow roots, in which no selector looks.
  function deep(root, selector) {
    const found = [...root.querySelectorAll(selector)]
    for (const element of root.querySelectorAll("*")) if (element.shadowRoot) found.push(...deep(element.shadowRoot, selector))
    return found.filter((element) => element.getClientRects().length)
  }

  // A diagram of boxes, lines and words, as it stands in the page.
  function copy(diagram, picture, place) {
    const corner = place(diagram), {left, top} = diagram.getBoundingClientRect()
    picture.prepend(make("title", {}, diagram.getAttribute("aria-label")))
    for (const element of diagram.querySelectorAll("*")) {
      const style = getComputedStyle(element), {stroke, fill, opacity, color} = style
      if (element.tagName === "path") {
        const {a, b, c, d, e, f} = element.getScreenCTM()
        const line = {"stroke-width": style.strokeWidth, "stroke-dasharray": style.strokeDasharray, "vector-effect": style.vectorEffect}
        picture.append(make("path", {d: element.getAttribute("d"), stroke, fill, opacity, ...line, transform: `matrix(${[a, b, c, d, e - left + corner.x, f - top + corner.y]})`}))
        continue
      }
      const edge = parseFloat(style.borderTopWidth), box = place(element)
      const round = Math.min(parseFloat(style.borderTopLeftRadius) * (style.borderTopLeftRadius.endsWith("%") ? box.width / 100 : 1), box.width / 2)
      if (edge || style.backgroundColor !== "rgba(0, 0, 0, 0)") picture.append(make("rect", {...box, rx: round, fill: style.backgroundColor, stroke: edge ? style.borderTopColor : "none", "stroke-width": edge}))
      for (const node of element.childNodes) if (node.nodeType === Node.TEXT_NODE) for (const [x, y, words] of linesOf(node))
        picture.append(make("text", {x: x - left + corner.x, y: y - top + corner.y, "dominant-baseline": "central", "font-size": style.fontSize, "font-weight": style.fontWeight, "font-style": style.fontStyle, fill: color}, words))
    }
  }

  // The lines in which a text stands: where each begins, at half its height, and its words.
  function linesOf(node) {
    const lines = [], range = document.createRange()
    for (const {0: word, index} of node.data.matchAll(/\S+/g)) {
      range.setStart(node, index)
      range.setEnd(node, index + word.length)
      const {x, y, height} = range.getBoundingClientRect(), last = lines.at(-1)
      if (last && Math.abs(last[1] - y - height / 2) < height / 2) last[2] += ` ${word}`
      else lines.push([x, y + height / 2, word])
    }
    return lines
  }

  async function drawing(cards) {
    const style = getComputedStyle(document.documentElement)
    const color = (name) => style.getPropertyValue(`--${name}`).trim()
    const alone = cards.length == 1
    const grid = (alone ? cards[0] : document.getElementById("plots")).getBoundingClientRect()
    const [width, height] = [grid.width + 2 * MARGIN, grid.height + 2 * MARGIN]
    const picture = make("svg", {xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}`, "font-family": style.getPropertyValue("--font")})
    const place = (element) => {
      const box = element.getBoundingClientRect()
      return {x: box.left - grid.left + MARGIN, y: box.top - grid.top + MARGIN, width: box.width, height: box.height}
    }
    const write = (element, fill) => {
      const {x, y, width, height} = place(element)
      const {fontSize, fontWeight, textAlign} = getComputedStyle(element)
      const side = textAlign === "right" ? {x: x + width, "text-anchor": "end"} : {x}
      picture.append(make("text", {...side, y: y + height / 2, "dominant-baseline": "central", "font-size": fontSize, "font-weight": fontWeight, fill}, element.textContent.trim()))
    }
    const dot = (element) => {
      const {x, y, width, height} = place(element)
      picture.append(make("circle", {cx: x + width / 2, cy: y + height / 2, r: width / 2, fill: getComputedStyle(element).backgroundColor}))
    }
    picture.append(make("rect", {width, height, fill: color(alone ? "card" : "paper")}))
    for (const card of cards) {
      if (!alone) picture.append(make("rect", {...place(card), rx: 6, fill: color("card"), stroke: color("rule")}))
      write(card.querySelector("h2"), color("ink"))
      const {bottom} = card.getBoundingClientRect()
      deep(card, ".loop").forEach((diagram) => copy(diagram, picture, place))
      for (const cell of deep(card, "th, td")) if (cell.getBoundingClientRect().bottom <= bottom) write(cell, color("ink"))
      deep(card, "th .chip").forEach(dot)
      let row = null, hidden = 0 // what is hidden leaves no gap
      for (const entry of deep(card, ".entry")) {
        const {y: top, width} = place(entry)
        if (top !== row) [row, hidden] = [top, 0]
        if (entry.getAttribute("aria-pressed") === "false") { hidden += width; continue }
        const {x: left, y, height} = place(entry.querySelector("svg"))
        const x = left - hidden
        const {stroke, strokeWidth, strokeDasharray} = getComputedStyle(entry.querySelector("line"))
        picture.append(make("line", {x1: x, x2: x + 18, y1: y + height / 2, y2: y + height / 2, stroke, "stroke-width": strokeWidth, "stroke-dasharray": strokeDasharray}))
        picture.append(make("text", {x: x + 22, y: y + height / 2, "dominant-baseline": "central", "font-size": 11.5, fill: color("muted")}, entry.textContent))
      }
    }
    for (const view of window.Bokeh.index.roots) {
      if (!cards.some((card) => view.model.name == `${card.id}_plot`)) continue
      const blob = await view.export("svg", false).to_blob()
      const plot = new DOMParser().parseFromString(await blob.text(), "image/svg+xml").documentElement
      for (const [name, value] of Object.entries(place(view.el))) plot.setAttribute(name, value)
      picture.append(document.adoptNode(plot))
    }
    return new Blob([new XMLSerializer().serializeToString(picture)], {type: "image/svg+xml"})
  }

  async function painted(blob) {
    const url = URL.createObjectURL(blob)
    const image = new Image()
    await new Promise((done, failed) => Object.assign(image, {onload: done, onerror: failed, src: url}))
    const canvas = Object.assign(document.createElement("canvas"), {width: 2 * image.width, height: 2 * image.height})
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height)
    URL.revokeObjectURL(url)
    return new Promise((done) => canvas.toBlob(done, "image/png"))
  }

  // A card as SVG, to stand in another document.
  window.cflowsPicture = async (panel) => (await drawing([document.getElementById(panel)])).text()

  // panel: a card's id, or nothing for all of them.
  window.cflowsSave = async function (type, panel) {
    const picture = await drawing([...document.querySelectorAll(panel ? `#${panel}` : "article.card")])
    const href = URL.createObjectURL(type === "svg" ? picture : await painted(picture))
    const link = Object.assign(document.createElement("a"), {href, download: `cflows${panel ? `-${panel}` : ""}.${type}`})
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
  }
})()
