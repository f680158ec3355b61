// Reads an AsyncAPI file with what it refers to, and fails if there is anything to
// say against it.
import { Parser, fromFile } from "@asyncapi/parser";

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
for (const d of diagnostics) {
  console.error(`${d.path.join(".")}: ${d.message} (${d.code})`);
}
process.exit(document && diagnostics.length === 0 ? 0 : 1);
