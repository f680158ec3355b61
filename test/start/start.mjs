// Follows docs/getting-started.md with each back end, in Chromium:
//
//   GUIDE=document WORK=folder CHROMIUM=browser WITHOUT="what is missing here" node start.mjs
//
// WORK contains source, a copy of the checkout. The guide is followed in WORK.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { Proxy } from "../browser/proxy.mjs";
import { Guide } from "./guide.mjs";
import { answers, freePort, launchBrowser } from "./machine.mjs";

const { GUIDE, WITHOUT, WORK } = process.env;
const missing = WITHOUT.split(" ");

// Browsers and back ends reach notiflux through a proxy that can cut connections.
const port = { notiflux: await freePort(), app: await freePort(), nginx: await freePort() };
const proxy = await Proxy.start(port.notiflux);
const guide = new Guide(GUIDE, {
  folder: WORK,
  log: `${WORK}/guide.log`,
  replaced: {
    "git clone --depth 1 https://github.com/ikornaselur/notiflux": `cp -r ${WORK}/source`,
    "go get github.com/golang-jwt/jwt/v5 github.com/ikornaselur/notiflux/client":
      "go mod edit -require github.com/ikornaselur/notiflux@v0.0.0 -replace github.com/ikornaselur/notiflux=./src\n" +
      "go get github.com/golang-jwt/jwt/v5\ngo mod tidy",
    "127.0.0.1:8080": `127.0.0.1:${proxy.port}`,
    "127.0.0.1:8000": `127.0.0.1:${port.app}`,
    "--port 8000": `--port ${port.app}`,
    "listen(8000,": `listen(${port.app},`,
    "127.0.0.1:8090": `127.0.0.1:${port.nginx}`,
  },
});

const [build, serve] = guide.commands("Start notiflux");
let server;

async function startServer() {
  server = guide.start(serve, { PORT: port.notiflux, NOTIFLUX_ADMIN_ADDR: "" });
  await answers(`http://127.0.0.1:${port.notiflux}/health`);
}

// withPackagist returns the environment in which Composer finds firebase/php-jwt.
function withPackagist() {
  const environment = { COMPOSER_HOME: `${WORK}/composer`, COMPOSER_ALLOW_SUPERUSER: "1", COMPOSER_NO_INTERACTION: "1" };
  mkdirSync(environment.COMPOSER_HOME);
  try {
    execFileSync("composer", ["show", "--available", "firebase/php-jwt"], { cwd: environment.COMPOSER_HOME, env: { ...process.env, ...environment }, stdio: "ignore", timeout: 60_000 });
  } catch {
    console.log("  with a stand-in for firebase/php-jwt, since Packagist cannot be reached");
    writeFileSync(`${environment.COMPOSER_HOME}/config.json`, JSON.stringify({
      repositories: [{ type: "path", url: `${WORK}/start/php-jwt`, options: { symlink: false } }, { "packagist.org": false }],
    }));
  }
  return environment;
}

// A Window is a browser window that shows the page.
class Window {
  #page;
  states = 0; // how many times the page has requested the state

  static async open(browser, url) {
    const w = new Window();
    w.#page = await browser.newPage();
    w.#page.on("request", (request) => (w.states += Number(request.url().endsWith("/state"))));
    await w.#page.goto(url);
    await w.says("live");
    return w;
  }

  says(status) {
    return this.#shows("#status", status);
  }

  lists(notes) {
    return this.#shows("#notes li", ...notes.map((text) => `ann: ${text}`));
  }

  // shows waits until the elements that match have these texts.
  #shows(selector, ...texts) {
    return this.#page.waitForFunction(
      ([s, want]) => JSON.stringify([...document.querySelectorAll(s)].map((e) => e.textContent)) === want,
      [selector, JSON.stringify(texts)],
      { timeout: 30_000, polling: 10 },
    ).catch(async (cause) => {
      const got = await this.#page.locator(selector).allTextContents();
      throw new Error(`${selector}: ${JSON.stringify(got)}, want ${JSON.stringify(texts)}`, { cause });
    });
  }

  async add(text) {
    await this.#page.fill("input", text);
    await this.#page.click("button");
  }

  // expire lets the server refuse the next event stream, as if the token had expired.
  async expire() {
    await this.#page.route("**/events?*", (route) => route.fulfill({ status: 401 }), { times: 1 });
  }

  close() {
    return this.#page.close();
  }
}

// tryIt does with the page what the reader does, and what may happen in production.
async function tryIt(browser, url) {
  const notes = (await (await fetch(`${url}/state`)).json()).notes.map((note) => note.text);
  const [ann, bob] = [await Window.open(browser, url), await Window.open(browser, url)];
  const add = async (text, seen = true) => {
    await ann.add(text);
    notes.push(text);
    if (seen) for (const window of [ann, bob]) await window.lists(notes);
  };
  await add("a note");
  await add("<i>Straße</i> & \"東京\"");

  console.log("  a connection that is cut resumes: no note is lost, and the state is not requested again");
  proxy.cut();
  await add("while it is cut");
  for (const window of [ann, bob]) assert.equal(window.states, 1);

  console.log("  an expired token is replaced");
  await bob.expire();
  proxy.cut();
  await add("meanwhile");
  await bob.says("live");
  assert.deepEqual([ann.states, bob.states], [1, 2]);

  console.log("  no note is lost when notiflux restarts");
  await server.stop();
  for (const window of [ann, bob]) await window.says("reconnecting");
  await add("while notiflux is away", false);
  await startServer();
  for (const window of [ann, bob]) {
    await window.says("live");
    await window.lists(notes);
  }
  await add("after the restart");
  for (const window of [ann, bob]) await window.close();
}

// safe fails if the back end serves the files beside the page, grants more than it should,
// or lets a note that is not UTF-8 break the page.
async function safe(url) {
  for (const path of ["/keys/es256_private.pem", "/notes.jsonl", "/..%2fkeys/es256_private.pem"]) {
    assert.notEqual((await fetch(url + path)).status, 200, path);
  }
  const headers = { "Content-Type": "application/x-www-form-urlencoded" };
  await fetch(`${url}/notes`, { method: "POST", headers, body: "text=%ff" });
  const state = await fetch(`${url}/state`);
  assert.equal(state.headers.get("Cache-Control"), "no-store");
  const { token, notes } = await state.json();
  for (const note of notes) assert.equal(typeof note?.text, "string");
  const { sub, scope, topic, exp } = JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
  assert.deepEqual([sub, scope, topic], ["ann", "subscribe", "notes"]);
  assert.ok(Math.abs(exp - Date.now() / 1000 - 600) < 30, `exp is ${exp}`);
}

console.log("notiflux");
await guide.run(build);
guide.enter("notes");
await startServer();
guide.save("The page");

const browser = await launchBrowser();
let nginx;
if (!missing.includes("nginx")) {
  guide.save("Put nginx in front");
  nginx = guide.commands("Put nginx in front");
}
// PHP is last: the go command takes a folder named vendor for its own.
for (const language of ["Python", "Node.js", "Go", "PHP"]) {
  if (missing.includes(language)) continue;
  console.log(language);
  const [install, run] = guide.commands(language);
  guide.save(language);
  await guide.run(install, language === "PHP" ? withPackagist() : {});
  const url = `http://127.0.0.1:${port.app}`;
  let app = guide.start(run);
  await answers(url);
  await safe(url);
  await tryIt(browser, url);
  await app.stop();
  if (!nginx) continue;

  console.log("  the same behind nginx");
  const front = guide.start(nginx[0]);
  app = guide.start(nginx[1] + run);
  await answers(url);
  await tryIt(browser, `http://127.0.0.1:${port.nginx}`);
  await app.stop();
  await front.stop();
}
await browser.close();
await server.stop();
proxy.close();
