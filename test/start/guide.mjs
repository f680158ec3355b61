// Follows a guide in Markdown as its reader does: runs commands and saves files.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, openSync, readFileSync, writeFileSync } from "node:fs";

// A Guide holds the code blocks of a document by section.
export class Guide {
  #sections = new Map();
  #folder;
  #log;
  #running = new Set();

  // Commands run in folder, and their output goes to the file log. replaced maps texts to
  // what replaces them in all blocks; the guide must contain each of them.
  constructor(path, { folder, log, replaced }) {
    this.#folder = folder;
    this.#log = log;
    let text = readFileSync(path, "utf8");
    for (const [was, is] of Object.entries(replaced)) {
      assert.ok(text.includes(was), `the guide has no ${was}`);
      text = text.replaceAll(was, is);
    }
    let blocks, block, before = "";
    for (const line of text.split("\n")) {
      if (block) {
        if (line === "```") block = undefined;
        else block.text += `${line}\n`;
      } else if (line.startsWith("```")) {
        const language = line.slice(3);
        block = { language, text: "", file: language === "sh" ? undefined : /`([^`]+)`:$/.exec(before)?.[1] };
        blocks?.push(block);
      } else if (/^##+ /.test(line)) {
        this.#sections.set(line.replace(/^#+ ([0-9]+\. )?/, ""), (blocks = []));
      } else if (line) {
        before = line;
      }
    }
    process.on("exit", () => this.#running.forEach((pid) => end(pid)));
  }

  // commands returns the shell blocks of a section.
  commands(section) {
    const found = this.#sections.get(section)?.filter((b) => b.language === "sh").map((b) => b.text);
    assert.ok(found?.length, `the guide has no commands in "${section}"`);
    return found;
  }

  // save writes the files that a section shows, by default one, and returns their texts.
  save(section, count = 1) {
    const files = this.#sections.get(section).filter((b) => b.file);
    assert.equal(files.length, count, `the guide should show ${count} files in "${section}"`);
    for (const { file, text } of files) writeFileSync(`${this.#folder}/${file}`, text);
    return files.map(({ text }) => text);
  }

  // enter changes to a folder relative to the current one.
  enter(folder) {
    this.#folder += `/${folder}`;
  }

  // start runs commands in a shell of their own. It returns a promise of their end, and stop.
  start(commands, environment = {}) {
    appendFileSync(this.#log, `$ ${commands}`);
    const log = openSync(this.#log, "a");
    const child = spawn("bash", ["-ec", commands], {
      cwd: this.#folder,
      env: { ...process.env, ...environment },
      stdio: ["ignore", log, log],
      detached: true, // A group of its own, as a terminal makes for each command.
    });
    this.#running.add(child.pid);
    const ended = once(child, "exit").finally(() => this.#running.delete(child.pid));
    return {
      ended,
      stop: async () => {
        end(child.pid);
        await ended;
      },
    };
  }

  // run runs commands and waits until they succeed.
  async run(commands, environment) {
    const [status] = await this.start(commands, environment).ended;
    assert.equal(status, 0, `this failed: ${commands}`);
  }
}

// end interrupts a process group, as Ctrl-C does.
function end(group) {
  try {
    process.kill(-group, "SIGINT");
  } catch (err) {
    if (err.code !== "ESRCH") throw err;
  }
}
