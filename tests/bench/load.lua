-- What wrk asks of the status page: every kind of page in turn, a request of each connection per PAUSE milliseconds.
local paths, pause, position = {}, 0, 0

function init(args)
  pause = tonumber(args[1])
  for number = 2, #args do paths[number - 1] = args[number] end
  wrk.headers["Authorization"] = "Bearer " .. os.getenv("IMAGESYNC_TOKEN")
end

function delay() return pause end

function request()
  position = position % #paths + 1
  return wrk.format("GET", paths[position])
end

function done(summary, latency, requests)
  local errors = summary.errors
  local cut = errors.connect + errors.read + errors.write
  local text = '{"requests": %d, "cut": %d, "late": %d, "bad": %d, "seconds": %f, "p50": %f, "p99": %f, "most": %f}\n'
  io.write(string.format(text, summary.requests, cut, errors.timeout, errors.status, summary.duration / 1e6,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6, latency.max / 1e6))
end
