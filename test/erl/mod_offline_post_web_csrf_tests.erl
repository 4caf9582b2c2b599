%% Whose form is taken, and until when.
-module(mod_offline_post_web_csrf_tests).

-include_lib("eunit/include/eunit.hrl").

-import(mod_offline_post_web_csrf, [token/3, is_valid/4]).

-define(ADMIN, <<"admin@a.example">>).
-define(HOST, <<"a.example">>).
-define(NOW, 1800000000).

own_test() ->
    Token = token(?ADMIN, ?HOST, ?NOW),
    ?assert(is_valid(Token, ?ADMIN, ?HOST, ?NOW)),
    ?assert(is_valid(Token, ?ADMIN, ?HOST, ?NOW + 3600)),
    ?assert(mod_offline_post_web_csrf:is_valid(mod_offline_post_web_csrf:token(?ADMIN, ?HOST), ?ADMIN, ?HOST)).

others_test() ->
    Token = token(?ADMIN, ?HOST, ?NOW),
    ?assertNot(is_valid(Token, <<"eve@a.example">>, ?HOST, ?NOW)),
    ?assertNot(is_valid(Token, ?ADMIN, <<"b.example">>, ?NOW)),
    %% Where one name ends and the other begins counts.
    ?assertNot(is_valid(token(<<"a">>, <<"bc">>, ?NOW), <<"ab">>, <<"c">>, ?NOW)).

expired_test() ->
    Token = token(?ADMIN, ?HOST, ?NOW),
    ?assertNot(is_valid(Token, ?ADMIN, ?HOST, ?NOW + 3601)),
    [Expiry, Signature] = binary:split(Token, <<"-">>),
    Longer = integer_to_binary(binary_to_integer(Expiry) + 3600),
    ?assertNot(is_valid(<<Longer/binary, "-", Signature/binary>>, ?ADMIN, ?HOST, ?NOW)).

%% Each byte of it counts, and whatever else comes is refused without a crash.
wrong_test() ->
    Token = token(?ADMIN, ?HOST, ?NOW),
    [begin
         <<Before:At/binary, Byte, After/binary>> = Token,
         ?assertNot(is_valid(<<Before/binary, (Byte bxor 1), After/binary>>, ?ADMIN, ?HOST, ?NOW))
     end || At <- lists:seq(0, byte_size(Token) - 1)],
    [?assertNot(is_valid(Wrong, ?ADMIN, ?HOST, ?NOW))
     || Wrong <- [<<>>, <<"-">>, <<"x-y">>, <<Token/binary, "0">>, binary:part(Token, 0, byte_size(Token) - 1), <<255, 0, "-">>]].
