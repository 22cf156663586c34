#!lua flags=allow-oom
-- A node says that it lives, and how far it is. Where there is no log, one is begun.
-- KEYS: log, meta, nodes, positions. ARGV: lease in ms, node (empty: only looks), its position, era for a new log, floor
-- (two numbers), era that is given up (empty: none).
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lease = tonumber(ARGV[1])
local meta = redis.call('HMGET', KEYS[2], 'era', 'base', 'last', 'tail')
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local last = newest[1] and newest[1][1] or meta[2]
-- A log whose end is not where it is said to be has lost entries: they were evicted, or deleted.
local is_sound = meta[1] and meta[2] and meta[4] and last == meta[3]
if not is_sound or meta[1] == ARGV[7] then
  local millis = math.max(now, tonumber(ARGV[5]) + 1)
  if meta[3] then
    millis = math.max(millis, tonumber(string.match(meta[3], '^(%d+)-') or 0) + 1)
  end
  local base = string.format('%.0f-0', millis)
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[2], 'era', ARGV[4], 'base', base, 'last', base, 'tail', '0')
  meta = {ARGV[4], base, base, '0'}
end
if ARGV[2] ~= '' then
  redis.call('ZADD', KEYS[3], now, ARGV[2])
  redis.call('HSET', KEYS[4], ARGV[2], ARGV[3])
  -- Those who are long gone are forgotten; until then their positions may still be read.
  local gone = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now - 10 * lease, 'LIMIT', 0, 100)
  for _, node in ipairs(gone) do
    redis.call('ZREM', KEYS[3], node)
    redis.call('HDEL', KEYS[4], node)
  end
end
local answer = {meta[1], meta[2], meta[3], meta[4]}
local living = redis.call('ZRANGEBYSCORE', KEYS[3], now - lease, '+inf', 'LIMIT', 0, 1000)
if #living > 0 then
  local positions = redis.call('HMGET', KEYS[4], unpack(living))
  for index, node in ipairs(living) do
    answer[#answer + 1] = node
    answer[#answer + 1] = positions[index] or ''
  end
end
return answer
