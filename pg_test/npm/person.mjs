// A person with a browser, who does what the pages of the provider ask for.
import https from "node:https";

function fetch(url, cookies, form) {
  const body = form && new URLSearchParams(form).toString();
  const headers = { cookie: [...cookies].map((pair) => pair.join("=")).join("; ") };
  if (form) Object.assign(headers, { "content-type": "application/x-www-form-urlencoded", "content-length": Buffer.byteLength(body) });
  return new Promise((done, fail) => {
    const request = https.request(url, { method: form ? "POST" : "GET", headers, rejectUnauthorized: false }, (response) => {
      for (const cookie of response.headers["set-cookie"] ?? []) {
        const [, name, value] = cookie.match(/^([^=]+)=([^;]*)/);
        cookies.set(name, value);
      }
      let text = "";
      response.on("data", (part) => (text += part));
      response.on("end", () => done({ to: response.headers.location, text }));
    });
    request.on("error", fail);
    request.end(body);
  });
}

// Goes from page to page, and fills in each form, until there is none. Returns the title of the last page.
export async function visit(url, code, name) {
  const cookies = new Map();
  const known = { user_code: code, login: name, password: "x" };
  let page = await fetch(url, cookies);
  for (let pages = 0; pages < 20; pages++) {
    const form = page.text.match(/<form[^>]* action="([^"]+)"/);
    if (page.to) {
      url = new URL(page.to, url);
      page = await fetch(url, cookies);
    } else if (form) {
      url = new URL(form[1], url);
      const fields = {};
      for (const [input] of page.text.matchAll(/<input[^>]*>/g)) {
        const [field, value] = ["name", "value"].map((attribute) => input.match(new RegExp(` ${attribute}="([^"]*)"`))?.[1]);
        if (field) fields[field] = known[field] ?? value;
      }
      page = await fetch(url, cookies, fields);
    } else {
      return page.text.match(/<title>(.*)<\/title>/)?.[1];
    }
  }
  return "the pages have no end";
}
