// Uses the installed package: node program.cjs URL PRIVATE_KEY_FILE

const { readFileSync } = require("node:fs")
const { connect, NotifluxError } = require("notiflux")
const server = require("notiflux/server")

async function main([url, file]) {
  const privateKey = readFileSync(file, "utf8")
  const client = connect(url, { token: ({ scope, topics }) => server.sign({ sub: "ann", scope, topics }, privateKey) })
  const outcomes = await server.publish(url, ["one", "two"].map((message) => ({ topic: "old", message })), { privateKey })
  const { messages } = await client.history("old")
  await client.close()
  console.log(messages.map(({ data }) => data).join(), outcomes.length, server.NotifluxError === NotifluxError)
}

main(process.argv.slice(2))
