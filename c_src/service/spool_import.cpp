#include "service/spool_import.hpp"

#include <algorithm>
#include <utility>

namespace offline_post {

namespace {

std::string Why(Engine::ImportResult::End end, const EndpointKey& key) {
  switch (end) {
    case Engine::ImportResult::End::kFull:
      return "there is no more room for " + key.vhost +
             ": wait until less is pending, raise queue_limit or queue_bytes, or free its disk";
    case Engine::ImportResult::End::kStopped:
      return key.module + " was stopped for " + key.vhost;
    case Engine::ImportResult::End::kRefused:
      return "this node's own spool refuses, or is not kept on disk: see the log";
    case Engine::ImportResult::End::kAll:
      break;
  }
  return "";
}

}  // namespace

std::optional<SpoolImport::Report> SpoolImport::Next(const Send& send,
                                                     const std::function<void()>& told) {
  const std::lock_guard lock(mutex_);
  if (!reader_) {
    report_.trouble = "the import was ended";
    return report_;
  }
  const auto& endpoints = reader_->endpoints();
  if (result_ && HasEnded(*std::exchange(result_, std::nullopt))) ++endpoint_;
  for (; endpoint_ < endpoints.size(); ++endpoint_, position_.reset()) {
    const SpoolReader::Endpoint& endpoint = endpoints[endpoint_];
    if (endpoint.rows == 0) continue;
    if (failed_) {
      Leave(endpoint, "");
      continue;
    }
    switch (SendNext(endpoint, send, told)) {
      case Step::kSent:
        return std::nullopt;
      case Step::kRead:
        break;
      case Step::kUnknown:
        Leave(endpoint, endpoint.key.module + " does not run here for " + endpoint.key.vhost +
                            ": configure it, or do without");
        break;
    }
  }
  return Finish();
}

void SpoolImport::Close() {
  const std::lock_guard lock(mutex_);
  reader_.reset();
}

SpoolImport::Step SpoolImport::SendNext(const SpoolReader::Endpoint& endpoint, const Send& send,
                                        const std::function<void()>& told) {
  Engine::ImportSlice slice;
  slice.source = reader_->source();
  std::uint64_t withdrawn = 0;
  if (position_) {
    Result<SpoolReader::Slice> read = reader_->Read(endpoint.id, *position_, kSlice);
    if (!read.ok()) {
      failed_ = true;
      Leave(endpoint, read.error().text);
      return Step::kRead;
    }
    SpoolReader::Slice& rows = read.value();
    if (rows.pending.empty() && rows.dead.empty() && rows.withdrawn == 0) return Step::kRead;
    slice.pending = std::move(rows.pending);
    slice.dead = std::move(rows.dead);
    slice.position = rows.position;
    withdrawn = rows.withdrawn;
  }
  // It may be told before Send has returned, and waits for this turn's end then.
  withdrawn_ = withdrawn;
  const bool sent = send(endpoint.key, std::move(slice),
                         [self = shared_from_this(), told](const Engine::ImportResult& result) {
                           {
                             const std::lock_guard lock(self->mutex_);
                             self->result_ = result;
                           }
                           told();
                         });
  return sent ? Step::kSent : Step::kUnknown;
}

// True: nothing more is to be had from this endpoint.
bool SpoolImport::HasEnded(const Engine::ImportResult& result) {
  const SpoolReader::Endpoint& endpoint = reader_->endpoints()[endpoint_];
  report_.pending += result.pending;
  report_.dead += result.dead;
  if (result.end != Engine::ImportResult::End::kAll) {
    if (result.end != Engine::ImportResult::End::kRefused) position_ = result.position;
    if (result.end == Engine::ImportResult::End::kRefused) failed_ = true;
    Leave(endpoint, Why(result.end, endpoint.key));
    position_.reset();
    return true;
  }
  report_.withdrawn += withdrawn_;
  if (!position_) report_.before += reader_->CountUntil(endpoint.id, result.position);
  position_ = result.position;
  return false;
}

void SpoolImport::Leave(const SpoolReader::Endpoint& endpoint, const std::string& why) {
  const ImportPosition position = position_.value_or(ImportPosition{});
  report_.left +=
      endpoint.rows - std::min(endpoint.rows, reader_->CountUntil(endpoint.id, position));
  if (why.empty()) return;
  report_.trouble += (report_.trouble.empty() ? "" : "; ") + why;
}

SpoolImport::Report SpoolImport::Finish() {
  report_.file = file_;
  if (report_.left == 0 && report_.trouble.empty()) {
    Result<std::string> retired = reader_->Retire();
    if (retired.ok()) {
      report_.file = retired.value();
    } else {
      report_.trouble = retired.error().text +
                        ": all of it is imported; move it away before its node starts again";
    }
  }
  reader_.reset();
  return std::move(report_);
}

}  // namespace offline_post
