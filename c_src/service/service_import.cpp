// The service's fourth part: what another node has left.
#include <utility>

#include "outbox/spool_outbox.hpp"
#include "service/service.hpp"

namespace offline_post {

Status Service::OpenImport(const std::string& path) {
  std::string own;
  {
    const std::lock_guard life(life_mutex_);
    if (!thread_.joinable()) {
      return Error{Error::Kind::kInvalid, "mod_offline_post does not run on this node"};
    }
    if (spool_state_ != SpoolState::kDurable) {
      return Error{Error::Kind::kInvalid,
                   "this node keeps what waits in memory (spool: false, or its disk refuses), and "
                   "would lose what it took over: nothing is imported"};
    }
    own = spool_.directory + "/" + SpoolOutbox::kFileName;
  }
  CloseImport();
  auto reader = SpoolReader::Open(path, own, clock_);
  if (!reader.ok()) return reader.error();
  const std::lock_guard lock(import_mutex_);
  import_ = std::make_shared<SpoolImport>(path, std::move(reader.value()));
  return std::nullopt;
}

std::optional<SpoolImport::Report> Service::NextImport(const std::function<void()>& told) {
  std::shared_ptr<SpoolImport> import;
  {
    const std::lock_guard lock(import_mutex_);
    import = import_;
  }
  if (!import) {
    SpoolImport::Report none;
    none.trouble = "no import was begun";
    return none;
  }
  const auto send = [this](const EndpointKey& key, Engine::ImportSlice slice,
                           Engine::ImportCallback done) {
    {
      const std::shared_lock lock(registry_mutex_);
      const auto found = registry_.find(EndpointKeyView{key.vhost, key.module});
      if (found == registry_.end() || !found->second.configured) return false;
    }
    return CommandFor({key.vhost, key.module},
                      [this, slice = std::move(slice), done = std::move(done)](EndpointId id) {
                        engine_->Import(id, slice, done);
                      });
  };
  std::optional<SpoolImport::Report> report = import->Next(send, told);
  if (report) {
    import->Close();
    const std::lock_guard lock(import_mutex_);
    if (import_ == import) import_.reset();
  }
  return report;
}

void Service::CloseImport() {
  const std::lock_guard lock(import_mutex_);
  if (import_) import_->Close();
  import_.reset();
}

}  // namespace offline_post
