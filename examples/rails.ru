# A backend to start from, in Ruby on Rails (Debian: ruby-rails, puma): takes signed events of mod_offline_post and hands
# each to a push service, once.
#
#     SECRET=whsec_... PUSH_URL=https://push.example/send puma -e production -b tcp://127.0.0.1:PORT rails.ru
#
# with `format: json`, `signing_secrets: [whsec_...]` and `post_url: "http://127.0.0.1:PORT/"` in ejabberd.yml.
require "action_controller/railtie"
require "net/http"

class Receiver < Rails::Application
  config.eager_load = true
  config.secret_key_base = SecureRandom.hex(64)
  config.logger = Logger.new($stderr)
  config.log_level = :warn # below, Rails logs the messages
  routes.append { post "/", to: "events#create" }
end

class EventsController < ActionController::API
  KEY = ENV.fetch("SECRET").delete_prefix("whsec_").unpack1("m")
  TOLERANCE_S = 300
  SEEN = ActiveSupport::Cache::MemoryStore.new(expires_in: 2.days) # longer than max_age; several processes: a table

  # 2xx: in safe hands, never sent again. 503: again later.
  def create
    body = request.body.read
    return head :unauthorized unless genuine?(body)
    id = request.headers["webhook-id"]
    return head :no_content if SEEN.exist?(id) # a lost answer looks like a lost message
    event = JSON.parse(body)["data"]
    push(event["to"], event["from"].to_s, event["body"])
    SEEN.write(id, true)
    head :no_content
  rescue SystemCallError, SocketError, Timeout::Error, Net::ProtocolError => error
    logger.error "cannot push now: #{error.message}"
    head :service_unavailable
  end

  private

  # Standard Webhooks 1.0, v1: one of the signatures is ours, and made just now.
  def genuine?(body)
    id, sent_at = request.headers["webhook-id"].to_s, request.headers["webhook-timestamp"].to_s
    return false if id.empty? || !sent_at.match?(/\A\d+\z/) || (Time.now.to_i - sent_at.to_i).abs > TOLERANCE_S
    ours = "v1," + [OpenSSL::HMAC.digest("SHA256", KEY, "#{id}.#{sent_at}.".b + body)].pack("m0")
    request.headers["webhook-signature"].to_s.split.any? { |one| ActiveSupport::SecurityUtils.secure_compare(one, ours) }
  end

  # Your push service. An error has the event sent again later; so has an answer that takes longer than `timeout`.
  def push(to, title, text)
    url = URI(ENV["PUSH_URL"] || (return puts("to #{to}: #{title}: #{text}")))
    Net::HTTP.start(url.host, url.port, use_ssl: url.scheme == "https", open_timeout: 3, read_timeout: 3) do |http|
      http.post(url.request_uri, { to: to, title: title, text: text }.to_json, "Content-Type" => "application/json").value
    end
  end
end

Receiver.initialize!
run Rails.application
