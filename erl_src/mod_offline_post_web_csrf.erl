%% What a form of ours bears, so that no other page in an admin's browser can send one: a token that is good for one
%% admin, one virtual host and an hour. Nothing is stored; the secret is of this node and this run of it.
-module(mod_offline_post_web_csrf).

-export([token/2, token/3, is_valid/3, is_valid/4]).

-on_load(load/0).

-define(LIFETIME, 3600). % s
-define(SECRET_BYTES, 32).

-spec token(Admin :: binary(), binary()) -> binary().
token(Admin, Host) -> token(Admin, Host, now_s()).

%% Now: Unix s.
-spec token(Admin :: binary(), binary(), Now :: integer()) -> binary().
token(Admin, Host, Now) ->
    Expiry = integer_to_binary(Now + ?LIFETIME),
    <<Expiry/binary, "-", (signature(Admin, Host, Expiry))/binary>>.

-spec is_valid(Token :: binary(), Admin :: binary(), binary()) -> boolean().
is_valid(Token, Admin, Host) -> is_valid(Token, Admin, Host, now_s()).

-spec is_valid(Token :: binary(), Admin :: binary(), binary(), Now :: integer()) -> boolean().
is_valid(Token, Admin, Host, Now) ->
    case binary:split(Token, <<"-">>) of
        [Expiry, Signature] ->
            Expected = signature(Admin, Host, Expiry),
            byte_size(Signature) =:= byte_size(Expected) andalso crypto:hash_equals(Signature, Expected)
                %% Signed, so one that we have made.
                andalso Now =< binary_to_integer(Expiry);
        _ ->
            false
    end.

-spec signature(binary(), binary(), binary()) -> binary().
signature(Admin, Host, Expiry) ->
    Signed = term_to_binary({Admin, Host, Expiry}),
    binary:encode_hex(crypto:mac(hmac, sha256, persistent_term:get(?MODULE), Signed)).

-spec now_s() -> integer().
now_s() -> erlang:system_time(second).

%% Outlives every version of this module, and with it the forms that are open.
-spec load() -> ok.
load() ->
    case persistent_term:get(?MODULE, undefined) of
        undefined -> persistent_term:put(?MODULE, crypto:strong_rand_bytes(?SECRET_BYTES));
        _ -> ok
    end.
