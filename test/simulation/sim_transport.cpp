#include "sim_transport.hpp"

#include <utility>

#include "payload/answer.hpp"

namespace offline_post::simulation {

std::optional<Millis> SimTransport::NextMs() const {
  if (due_.empty()) return std::nullopt;
  return due_.begin()->first;
}

void SimTransport::Send(Request request) {
  fuse_.Burn();
  book_.Sent(request);
  ++sent_;
  if (request.deliveries.size() > 1) ++batches_;
  const RequestId id = request.id;
  const Millis timeout = request.endpoint->timeout_ms;
  Flight flight{std::move(request), {}, {}};
  Batch batch{{}, flight.request.event_ids, flight.request.body.size(), AnswerKept(flight.request)};
  EndpointId endpoint = 0;
  for (const Entry* entry : book_.Carried(flight.request)) {
    endpoint = entry->endpoint;
    flight.events.push_back(entry->event);
    batch.messages.push_back(std::stoull(entry->event->message_id) + 1);
  }
  const HostMood host = hosts[flight.request.endpoint->origin.host];
  const PathMood path = paths[endpoint];
  flight.fate = batch.ids.empty()
                    ? Decide(random_, habits_, host, path, batch.messages.front(), timeout)
                    : DecideBatch(random_, habits_, host, path, batch, timeout);
  due_.insert({clock_.now + flight.fate.latency, id});
  flight.due = clock_.now + flight.fate.latency;
  flights_.emplace(id, std::move(flight));
}

void SimTransport::Received(const Flight& flight) {
  const std::vector<Said>& said = flight.fate.said;
  for (std::size_t i = 0; i < flight.events.size(); ++i) {
    if (said.empty() ? flight.fate.received : said[i].received)
      book_.Received(book_.Find(*flight.events[i]));
  }
}

bool SimTransport::Perform(TransportListener& listener) {
  bool any = false;
  while (!due_.empty() && due_.begin()->first <= clock_.now) {
    const RequestId id = due_.begin()->second;
    due_.erase(due_.begin());
    const auto found = flights_.find(id);
    Flight flight = std::move(found->second);
    flights_.erase(found);
    any = true;
    Received(flight);
    Millis wait = 0;
    if (flight.fate.retry_after && flight.fate.answer.failure.empty()) {
      const RetryAfter asked = MakeRetryAfter(random_, habits_.odd_retry_after, clock_.UnixMs());
      flight.fate.answer.retry_after = asked.header;
      wait = asked.wait_ms;
    }
    std::vector<Outcome> outcomes = ReadAnswer(flight.request, flight.fate.answer, clock_.UnixMs());
    book_.Answering(flight.request, flight.fate, wait);
    listener.OnDone(id, std::move(outcomes));
    book_.Settled(flight.request);
  }
  return any;
}

void SimTransport::Cancel(RequestId id) {
  fuse_.Burn();
  const auto found = flights_.find(id);
  if (found == flights_.end()) Fail("a request is cancelled that is not in flight");
  if (random_.Percent(50)) Received(found->second);
  due_.erase({found->second.due, id});
  book_.Cancelled(found->second.request);
  flights_.erase(found);
}

void SimTransport::Die() {
  for (const auto& [id, flight] : flights_) {
    if (random_.Percent(50)) Received(flight);
  }
  flights_.clear();
  due_.clear();
}

}  // namespace offline_post::simulation
