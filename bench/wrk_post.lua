-- wrk -s wrk_post.lua URL -- BODY [NAME VALUE]...: the POST that we send, as fast as wrk can.
function init(args)
  wrk.method = "POST"
  wrk.body = args[1]
  for i = 2, #args, 2 do
    wrk.headers[args[i]] = args[i + 1]
  end
end
