// notiflux/patterns: subscribes to all topics that begin in the same way.

export {
  connectPatterns,
  type Matching,
  type PatternClient,
  type PatternEvent,
  type PatternHandlers,
  type PatternOptions,
  type PatternSubscription,
} from "./patterns/connect.js"
