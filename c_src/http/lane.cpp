#include "http/lane.hpp"

namespace offline_post {

Status Lane::Open() {
  if (kind_ == Kind::kSockets) return sockets_.Open();
  streams_.reset(curl_multi_init());
  if (streams_) return std::nullopt;
  return Error{Error::Kind::kUnavailable, "libcurl: no multi handle (out of descriptors?)"};
}

bool Lane::Add(CURL* easy) {
  if (kind_ == Kind::kSockets) {
    sockets_.Prepare(easy);
  } else {
    SocketLoop::Release(easy);
  }
  if (curl_multi_add_handle(multi(), easy) != CURLM_OK) return false;
  ++in_flight_;
  used_ = true;
  return true;
}

void Lane::Remove(CURL* easy) {
  curl_multi_remove_handle(multi(), easy);
  --in_flight_;
}

bool Lane::Perform(SteadyTime until) {
  if (kind_ == Kind::kSockets) return sockets_.Perform(until);
  int running = 0;
  curl_multi_perform(streams_.get(), &running);
  return true;
}

}  // namespace offline_post
