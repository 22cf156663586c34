-- wrk over URLs that nobody has asked for before: each request names another one.
local start, number

function init(args)
    -- A run takes a second at least: no two of them begin alike.
    start, number = "{prefix}" .. os.time() .. "-", 0
end

function request()
    number = number + 1
    return wrk.format("GET", start .. number)
end
