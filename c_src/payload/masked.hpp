// An endpoint whose requests can be shown to whoever looks after it: everything that an operator
// wrote, and that may be a secret, says "(hidden)". What comes of an event is as it is sent.
#pragma once

#include <memory>

#include "model/endpoint.hpp"
#include "payload/recipe.hpp"

namespace offline_post {

// `config`: what the endpoint's recipe was compiled from. Without compression and signatures, which
// would say nothing to a reader; of the URL the origin, and templates.
std::shared_ptr<const Endpoint> Masked(const Endpoint& endpoint, const RecipeConfig& config);

}  // namespace offline_post
