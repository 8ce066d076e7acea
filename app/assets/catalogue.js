// The gallery's figures in the sidebar, by the paper that they come from.
export function render({model}) {
  const tell = converse(model, draw)
  const all = h("button", {type: "button", class: "lesson", onclick: () => tell({figure: ""})}, "All figures")
  const list = h("ul", {class: "contents"})
  let drawn = ""

  function draw() {
    const {groups = [], figure = ""} = model.state
    const signature = JSON.stringify(groups)
    if (signature !== drawn) {
      drawn = signature
      list.replaceChildren(h("li", {}, all), ...groups.map(({title, figures}) => h("li", {},
        h("h2", {}, title),
        h("ul", {}, figures.map(({name, number, title, verdict}) => h("li", {},
          h("button", {type: "button", class: "figure", "data-figure": name, onclick: () => tell({figure: name})}, disc(verdict), h("span", {}, h("b", {}, number), ` ${title}`))))))))
    }
    for (const button of [all, ...list.querySelectorAll(".figure")]) {
      if ((button.dataset.figure ?? "") === figure) button.setAttribute("aria-current", "page")
      else button.removeAttribute("aria-current")
    }
    list.querySelector("[aria-current]")?.scrollIntoView?.({block: "nearest"})
  }

  draw()
  return h("nav", {"aria-label": "Figures"}, list)
}
