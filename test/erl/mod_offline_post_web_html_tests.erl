%% That nothing which others have written becomes more than text on a page, and how values are shown.
-module(mod_offline_post_web_html_tests).

-include_lib("eunit/include/eunit.hrl").
-include_lib("xmerl/include/xmerl.hrl").

-import(mod_offline_post_web_html, [el/2, el/3, text/1, foreign/1, preformatted/1, table/3, form/3, button/3, hidden/2, url/2,
                                    number/1, bytes/1, duration/1, milliseconds/1, age/2]).

-define(HOSTILE, <<"<script>alert(\"1\")</script>&amp;'><img src=x onerror=alert(1)>">>).

%% Read back by xmerl, which shares no code with what wrote it.
hostile_text_test() ->
    [?assertEqual({Make(?HOSTILE), binary_to_list(?HOSTILE)}, {Make(?HOSTILE), content(Make(?HOSTILE))})
     || Make <- [fun(Text) -> el(<<"p">>, [text(Text)]) end, fun(Text) -> foreign(Text) end,
                 fun(Text) -> el(<<"p">>, [table(<<"t">>, [], [[[foreign(Text)]]])]) end]].

hostile_attribute_test() ->
    Written = written(form(<<"./">>, ?HOSTILE, [hidden(<<"id">>, ?HOSTILE), button(<<"do">>, ?HOSTILE, ?HOSTILE)])),
    ?assertEqual(nomatch, binary:match(Written, <<"<script">>)),
    ?assertEqual(nomatch, binary:match(Written, <<"<img">>)),
    ?assertEqual([binary_to_list(?HOSTILE), binary_to_list(?HOSTILE)], attributes(value, Written) -- ["do"]).

%% Neither a line end nor what turns the direction gets out of its element; what is no text is shown as such.
steering_test() ->
    ?assertEqual([$a, 16#FFFD, $b, 16#FFFD, 16#FFFD, $c], content(foreign(<<"a\nb", 27, 0, "c">>))),
    ?assertEqual([$x, 16#FFFD, $y], content(foreign(<<"x", 255, "y">>))),
    ?assertEqual("bdi", name(foreign(<<16#202E/utf8, "x">>))).

preformatted_test() ->
    ?assertEqual([$\n, $a, $\n, 16#FFFD, 16#FFFD, $<, $b, $>], content(preformatted(<<"a\n", 255, 27, "<b>">>))).

%% To a browser, <td/> begins a cell and ends none.
empty_test() ->
    ?assertEqual(<<"<td></td>">>, written(el(<<"td">>, []))),
    ?assertEqual(<<"<input name='a'/>">>, written(el(<<"input">>, [{<<"name">>, <<"a">>}], []))).

%% ejabberd redirects what does not end in a slash, and adds one.
url_test() ->
    ?assertEqual(<<"./dead/">>, url(<<"./dead/">>, [{<<"which">>, <<>>}])),
    ?assertEqual(<<"./?which=HTTP%204%26a%3D%27%22&after=7&go=/">>, url(<<"./">>, [{<<"which">>, <<"HTTP 4&a='\"">>}, {<<"after">>, <<"7">>}])).

values_test() ->
    ?assertEqual([<<"0">>, <<"999">>, <<"1\x{202F}000"/utf8>>, <<"1\x{202F}234\x{202F}007"/utf8>>, <<"-1\x{202F}500"/utf8>>],
                 [number(N) || N <- [0, 999, 1000, 1234007, -1500]]),
    ?assertEqual([<<"0 bytes">>, <<"1023 bytes">>, <<"1 KiB">>, <<"1.5 KiB">>, <<"256 MiB">>, <<"8 GiB">>],
                 [binary:replace(bytes(N), <<16#202F/utf8>>, <<>>) || N <- [0, 1023, 1024, 1536, 256 bsl 20, 8 bsl 30]]),
    ?assertEqual([<<"0">>, <<"500 ms">>, <<"1 s">>, <<"90 s">>, <<"10 min">>, <<"5 h">>, <<"1 day">>, <<"7 days">>],
                 [duration(Ms) || Ms <- [0, 500, 1000, 90000, 600000, 18000000, 86400000, 7 * 86400000]]),
    ?assertEqual([<<"0 ms">>, <<"0.3 ms">>, <<"1 ms">>, <<"1.2 ms">>, <<"23 ms">>, <<"1 s">>, <<"2.5 s">>, <<"90 s">>],
                 [milliseconds(Us) || Us <- [0, 300, 1000, 1234, 23456, 1000000, 2500000.0, 90000000]]),
    ?assertEqual([<<"0 s">>, <<"0 s">>, <<"119 s">>, <<"2 min">>, <<"119 min">>, <<"2 h">>, <<"2 days">>],
                 [age(1000000000, 1000000000 - Ms) || Ms <- [-5000, 999, 119999, 120000, 119 * 60000, 120 * 60000, 48 * 3600000]]).

%% Today's times have no day.
time_test() ->
    Noon = calendar:datetime_to_gregorian_seconds({{2026, 1, 31}, {12, 0, 7}}) - 62167219200,
    ?assertMatch({match, _}, re:run(content(mod_offline_post_web_html:time(Noon * 1000, Noon * 1000)), "^\\d\\d:\\d\\d:07$")),
    ?assertMatch({match, _}, re:run(content(mod_offline_post_web_html:time((Noon + 3 * 86400) * 1000, Noon * 1000)),
                                    "^2026-\\d\\d-\\d\\d \\d\\d:\\d\\d:07$")),
    ?assertEqual(["2026-01-31T12:00:07Z"], attributes(datetime, written(mod_offline_post_web_html:time(0, Noon * 1000)))).

%%%

written(Element) -> fxml:element_to_binary(Element).

read(Written) ->
    {Document, []} = xmerl_scan:string(binary_to_list(Written), [{quiet, true}]),
    Document.

content(Element) ->
    lists:flatten([Value || #xmlText{value = Value} <- xmerl_xpath:string("//text()", read(written(Element)))]).

name(Element) -> atom_to_list((read(written(Element)))#xmlElement.name).

attributes(Name, Written) ->
    [Value || #xmlAttribute{value = Value} <- xmerl_xpath:string("//@" ++ atom_to_list(Name), read(Written))].
