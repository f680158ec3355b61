import type { Transport } from "./transport.js"
import type { WebSocketClass } from "./types.js"

/** Connects by a WebSocket, which carries the JSON protocol as it is. */
export const websocket = (url: string, Socket: WebSocketClass): Transport => ({
  open({ frame, end }) {
    const socket = new Socket(url.replace(/^http/, "ws") + "/ws", ["notiflux.v1.json"])

    const close = () => {
      socket.onmessage = socket.onclose = socket.onerror = () => {}
      socket.close()
    }

    socket.onmessage = ({ data }) => {
      try {
        frame(JSON.parse(data))
      } catch {
        close()
        end({})
      }
    }
    socket.onclose = socket.onerror = end // If a Content-Security-Policy forbids it, Chromium says nothing but error.
    return { send: (command) => socket.send(JSON.stringify(command)), close }
  },
})
