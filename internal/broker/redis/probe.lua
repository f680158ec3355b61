-- Publishes the epoch to the channel ARGV[2].
begin()
redis.call('PUBLISH', ARGV[2], epoch)
return {epoch, text(now)}
