// A page that uses all entries for browsers. It only has to compile against the installed package.

import { connect, type Event } from "notiflux"
import { positions } from "notiflux/positions"
import { useConnection, usePresence, useTopic } from "notiflux/react"
import { tabs } from "notiflux/tabs"
import { testServer } from "notiflux/testing"
import * as vue from "notiflux/vue"

type Topics = { news: { title: string } }

const client = connect<Topics>("https://push.example.com", { token: "/token", tabs: tabs({ user: "ann" }), positions: positions({ user: "ann" }) })

const titles = (before: string[], event: Event<"news", Topics["news"]>): string[] =>
  event.type === "message" ? [...before, event.data.title] : event.type === "gap" ? [] : before

export function News() {
  const state: string = useConnection(client)
  const [news, error] = useTopic(client, "news", titles, [])
  const [members] = usePresence(client, "news")
  return (
    <p title={state}>
      {news.join()} {error?.code} {members?.count}
    </p>
  )
}

export const tested = connect<Topics>("https://push.example.com", { transports: [testServer()] })

export const setup = (): string[] => vue.useTopic(client, "news", titles, [])[0].value
