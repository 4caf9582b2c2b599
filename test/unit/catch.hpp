// Catch2 v3 (Debian 13 on) or v2 (Debian 12): the same macros behind different headers.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
