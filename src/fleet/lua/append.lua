#!lua flags=allow-oom
-- Adds an entry to the log. A purge must be heard also where Redis is full.
-- KEYS: log, meta. ARGV: era, floor (two numbers), id, payload, entries kept, "1" where it may be there already.
local meta = redis.call('HMGET', KEYS[2], 'era', 'last', 'tail')
if not meta[1] or meta[1] ~= ARGV[1] then
  return false
end
if ARGV[7] == '1' then
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 2048)) do
    if entry[2][2] == ARGV[4] then
      return entry[1]
    end
  end
end
local millis, order = string.match(meta[2], '^(%d+)-(%d+)$')
millis, order = tonumber(millis), tonumber(order)
local floor_millis, floor_order = tonumber(ARGV[2]), tonumber(ARGV[3])
if floor_millis > millis or (floor_millis == millis and floor_order > order) then
  millis, order = floor_millis, floor_order
end
-- The clock goes on; the log never goes back, though a clock may.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if now > millis then
  millis, order = now, 0
elseif order < 4095 then
  order = order + 1
else
  millis, order = millis + 1, 0
end
local id = string.format('%.0f-%d', millis, order)
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[6], id, 'i', ARGV[4], 'c', meta[3], 'p', ARGV[5])
redis.call('HSET', KEYS[2], 'last', id, 'tail', ARGV[4])
return id
