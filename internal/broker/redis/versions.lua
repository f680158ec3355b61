-- Returns the offsets of the last changes of hashes, KEYS after the first without the epoch, and
-- keeps them for ARGV[2] seconds more. If there is no hash, it is
-- beyond all offsets, so that a watcher that knows one notices.
local versions = {}
for i = 2, #KEYS do versions[i] = redis.call('HGET', KEYS[i] .. '\0' .. epoch, 'v') end
begin()
local answer = {epoch, text(now)}
for i = 2, #KEYS do
  if versions[i] then redis.call('EXPIRE', KEYS[i] .. '\0' .. epoch, ARGV[2]) end
  answer[i + 1] = versions[i] or text(last + 1)
end
return answer
