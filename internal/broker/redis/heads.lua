-- Returns the heads of topics, and keeps them for ARGV[2] seconds more. A topic without a head
-- gets one: the last offset of the shard. Otherwise the next message of the topic would name
-- another message before it than its followers know. KEYS after the first: for each topic its
-- head and its stream. The answer has, after epoch and time, where the epoch began and then
-- each head.
local heads = {}
for i = 2, #KEYS, 2 do heads[i] = find(KEYS[i], KEYS[i + 1]) end
begin()
local answer = {epoch, text(now), text(began)}
for i = 2, #KEYS, 2 do
  if heads[i] then
    redis.call('EXPIRE', KEYS[i], ARGV[2])
  else
    heads[i] = text(last)
    redis.call('SET', KEYS[i], heads[i], 'EX', ARGV[2])
  end
  answer[#answer + 1] = heads[i]
end
redis.call('HSET', KEYS[1], 'last', text(last))
return answer
