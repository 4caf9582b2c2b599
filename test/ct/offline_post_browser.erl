%% Headless Chromium, as test/support/browser.py drives it.
-module(offline_post_browser).

-export([start/0, stop/1, command/3, command/2]).

-define(TIMEOUT, 90000).

start() ->
    Script = filename:join([offline_post_node:root(), "test", "support", "browser.py"]),
    Browser = offline_post_port:open(Script, [], [{line, 1 bsl 22}]),
    _ = answer(Browser, start),
    Browser.

stop(Browser) ->
    offline_post_port:take(Browser),
    _ = port_command(Browser, "quit\n"),
    0 = offline_post_port:await_exit(Browser, ?TIMEOUT).

command(Browser, Command) -> command(Browser, Command, []).

%% Fails with what the browser says of it.
command(Browser, Command, Arguments) ->
    offline_post_port:take(Browser),
    true = port_command(Browser, [atom_to_list(Command),
                                  [[$\s, base64:encode(unicode:characters_to_binary(Argument))] || Argument <- Arguments], $\n]),
    answer(Browser, {Command, Arguments}).

answer(Browser, What) ->
    receive
        {Browser, {data, {eol, <<"ok ", Text/binary>>}}} -> base64:decode(Text);
        {Browser, {data, {eol, <<"ok">>}}} -> <<>>;
        {Browser, {data, {eol, <<"error ", Text/binary>>}}} -> ct:fail({What, unicode:characters_to_list(base64:decode(Text))});
        {Browser, {exit_status, Status}} -> ct:fail({browser_ended, Status, What})
    after ?TIMEOUT ->
        ct:fail({no_answer, What})
    end.
