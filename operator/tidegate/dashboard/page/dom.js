// Elements from plain data.  Whatever comes from the cluster becomes text here and nothing else: there is no way in this
// page from a string to HTML, and the server's Content-Security-Policy (Trusted Types) would refuse one.

const ATTRIBUTES = /^(aria-|data-|role$|id$|href$|type$|title$|tabindex$|scope$|datetime$|value$|disabled$)/;

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "style") for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
    else if (name === "onclick") element.addEventListener("click", value);
    else if (ATTRIBUTES.test(name)) element.setAttribute(name, value === true ? "" : value);
    else throw new Error(`attribute ${name} is not known`);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Replace what is in an element only when it was made from something else: focus, selection and scroll stay.
const made = new WeakMap();
export function keep(element, data, make) {
  const now = JSON.stringify(data);
  if (made.get(element) === now) return;
  made.set(element, now);
  element.replaceChildren(...[make(data)].flat(Infinity).filter(Boolean));
}

export const byId = (id) => document.getElementById(id);
