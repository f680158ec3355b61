// Uses the installed package: node program.js URL PRIVATE_KEY_FILE

import { readFileSync } from "node:fs"
import { type Client, connect, type Event, type Need, NotifluxError, type Position } from "notiflux"
import { type Claims, publish, sign } from "notiflux/server"

type Topics = { news: { title: string }; [chat: `chat/${string}`]: string }

const [, , url = "", file = ""] = process.argv
const privateKey = readFileSync(file, "utf8")

const token = ({ scope, topics }: Need): Promise<string> => {
  const claims: Claims = { sub: "ann", scope, topics }
  return sign(claims, privateKey)
}
const client: Client<Topics> = connect<Topics>(url, { token })

const position: Position = await client.publish("news", { title: "one" })
await publish(url, { topic: "news", message: { title: "two" } }, { privateKey })
await client.publish("chat/1", "hello")

const titles: string[] = []
for await (const event of client.subscribe("news", { since: position })) {
  const known: Event<"news", Topics["news"]> = event
  if (known.type === "message") titles.push(known.data.title)
  if (titles.length === 1) break
}
const { messages } = await client.history("news")
titles.push(...messages.map(({ data }) => data.title))

const stranger = connect(url, { token: () => null })
const refused: unknown = await stranger.history("news").catch((error: unknown) => error)
if (!(refused instanceof NotifluxError)) throw refused
await Promise.all([client.close(), stranger.close()])
console.log(titles.join(), refused.code)
