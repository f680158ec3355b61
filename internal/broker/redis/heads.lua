-- Returns the heads of topics, and keeps them for ARGV[2] seconds more. A topic without a head
-- gets one: the last offset of the shard. Otherwise the next message of the topic would name
-- another message before it than its followers know. What the nodes say about a topic is kept
-- for ARGV[3] seconds more. KEYS after the first: for each topic its head, its stream, and the
-- hash of what the nodes say, without the epoch. The answer has, after epoch and time, where the
-- epoch began and then each head.
local heads = {}
for i = 2, #KEYS, 3 do heads[i] = find(KEYS[i], KEYS[i + 1]) end
begin()
local answer = {epoch, text(now), text(began)}
for i = 2, #KEYS, 3 do
  if heads[i] then
    redis.call('EXPIRE', KEYS[i], ARGV[2])
  else
    heads[i] = text(last)
    redis.call('SET', KEYS[i], heads[i], 'EX', ARGV[2])
  end
  redis.call('EXPIRE', KEYS[i + 2] .. '\0' .. epoch, ARGV[3])
  answer[#answer + 1] = heads[i]
end
redis.call('HSET', KEYS[1], 'last', text(last))
return answer
