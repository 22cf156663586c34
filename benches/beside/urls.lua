-- wrk over many URLs: {count} of them, skewed as traffic is. A URL's share falls with its rank (Zipf with exponent 1):
-- of 10,000, the first ten get a quarter and the first hundred half.
local requests, picks = {}, {}

function init(args)
    math.randomseed(7)
    for number = 0, {count} - 1 do
        requests[number] = wrk.format("GET", "{prefix}" .. number)
    end
    for pick = 0, 65535 do
        picks[pick] = math.floor({count} ^ math.random()) - 1
    end
end

local pick = 0
function request()
    pick = (pick + 1) % 65536
    return requests[picks[pick]]
end
