// Follows docs/quick-start.md with each page, in Chromium:
//
//   GUIDE=document WORK=folder CHROMIUM=browser node quick.mjs
//
// WORK contains source, a copy of the checkout. The guide is followed in WORK. PROGRAM is a
// notiflux that was built of the checkout; without it, the guide's command builds one.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Guide } from "./guide.mjs";
import { answers, freePort, launchBrowser } from "./machine.mjs";

const { GUIDE, PROGRAM, WORK } = process.env;
const MOST_LINES = 19; // "under 20 lines" in README.md, for each page and for the back end

const port = { notiflux: await freePort(), app: await freePort() };
const guide = new Guide(GUIDE, {
  folder: WORK,
  log: `${WORK}/guide.log`,
  replaced: {
    "git clone --depth 1 https://github.com/ikornaselur/notiflux": `cp -r ${WORK}/source`,
    ...(PROGRAM && { "go build -C src -o .. ./cmd/notiflux": `cp ${PROGRAM} .` }),
    "127.0.0.1:8080": `127.0.0.1:${port.notiflux}`,
    "127.0.0.1:8000": `127.0.0.1:${port.app}`,
    "--port 8000": `--port ${port.app}`,
  },
});

const [build, serve] = guide.commands("Start notiflux");
const [add, addLater] = guide.commands("Try it");
let server;

async function startServer() {
  server = guide.start(serve, { PORT: port.notiflux, NOTIFLUX_ADMIN_ADDR: "" });
  await answers(`http://127.0.0.1:${port.notiflux}/health`);
}

// countLines fails if a reader has to write too many lines.
function countLines(what, texts) {
  const lines = texts.join("\n").split("\n").filter((line) => line.trim()).length;
  assert.ok(lines <= MOST_LINES, `${what} has ${lines} lines, want at most ${MOST_LINES}`);
  console.log(`  ${lines} lines`);
}

// A Page is a page of the guide in a browser.
class Page {
  #page;
  states = 0; // how many times it has loaded the list
  errors = [];

  static async open(browser, url) {
    const p = new Page();
    p.#page = await browser.newPage();
    p.#page.on("request", (request) => (p.states += Number(request.url().endsWith("/guests"))));
    p.#page.on("pageerror", (error) => p.errors.push(error));
    await p.#page.goto(url);
    return p;
  }

  // lists waits until the page shows these names.
  lists(names) {
    return this.#page.waitForFunction(
      (want) => document.body.innerText.trim().split("\n").join() === want,
      names.join(), { timeout: 30_000, polling: 10 },
    ).catch(async (cause) => {
      throw new Error(`the page shows ${await this.#page.innerText("body")}, want ${names}`, { cause });
    });
  }

  close() {
    return this.#page.close();
  }
}

// tryIt does with the page what the reader does.
async function tryIt(browser, app) {
  const stored = async () => (await fetch(`${app}/guests`)).json();
  const names = await stored();
  const page = await Page.open(browser, `${app}/static/index.html`);
  const adds = (name, command = add) => {
    if (!names.includes(name)) names.push(name);
    return guide.run(command.replace(/name=\w+/, `name=${name}`).replace(" &", ""));
  };
  await adds("Ann");
  await page.lists(names);
  const live = `Live${names.length}`;
  await adds(live);
  await page.lists(names);
  assert.equal(page.states, 1, "the page gets names as messages");

  console.log("  the page shows what was added while notiflux was restarted");
  await server.stop();
  const added = adds(`Bob${names.length}`, addLater);
  for (let tries = 0; (await stored()).length < names.length; tries++) {
    assert.ok(tries < 600, "the back end stores no name while notiflux is away");
    await sleep(50);
  }
  await startServer();
  await page.lists(names);
  await added;
  await adds(`Carl${names.length}`);
  await page.lists(names);
  assert.equal(page.states, 2, "the page loads the list once more");
  assert.deepEqual(page.errors, []);
  await page.close();
}

console.log("notiflux");
await guide.run(build);
guide.enter("guests");
await startServer();

console.log("the back end");
const [install, run] = guide.commands("The back end");
countLines("the back end", guide.save("The back end"));
await guide.run(install);
const app = guide.start(run);
await guide.run(guide.commands("The page")[0]);
await answers(`http://127.0.0.1:${port.app}/guests`);

const browser = await launchBrowser();
for (const [section, files] of [["Plain JavaScript", 1], ["React", 2], ["Vue", 2]]) {
  console.log(section);
  countLines(section, guide.save(section, files));
  for (const command of guide.commands(section)) await guide.run(command);
  await tryIt(browser, `http://127.0.0.1:${port.app}`);
}
await browser.close();
await app.stop();
await server.stop();
