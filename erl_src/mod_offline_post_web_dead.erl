%% An endpoint's dead letters: a page of a hundred, those whose reason begins in some way, one with its text, and the
%% question before any are dropped.
-module(mod_offline_post_web_dead).

-export([list/3, selection/1, letter/2, ask/2, replayed/2, dropped/2]).

-include("xmpp.hrl").

-import(mod_offline_post_web_html, [el/2, el/3, text/1, foreign/1, preformatted/1, anchor/2, table/3, heading/2, form/3,
                                    button/3, hidden/2, url/2, number/1, age/2, time/2]).

-type html() :: mod_offline_post_web_html:html().
-type element() :: mod_offline_post_web_html:element().
-type view() :: mod_offline_post_web_page:view().
-type letter() :: mod_offline_post_nif:letter().

-define(PAGE, 100).

%% More are not counted for a question.
-define(COUNTED, 1000).

%% Reason: how it begins; <<>>: all. After: the last number of the page before.
-spec list(view(), Reason :: binary(), After :: non_neg_integer()) -> [html()].
list(#{name := Name} = View, Reason, After) ->
    case mod_offline_post_operator:dead_letters(Name, selection(Reason), After, ?PAGE) of
        {ok, [], _} -> [filter(View, Reason), el(<<"p">>, [text(none(Reason, After))])];
        {ok, Letters, Next} -> [filter(View, Reason), reasons(View, Letters)] ++ bulk(View, Reason)
                                   ++ [letters(View, Letters), pages(View, Reason, After, Next)];
        {error, Why} -> [failed(Why)]
    end.

%% What the filter's field says: how a reason begins, an id, or nothing.
-spec selection(binary()) -> mod_offline_post_operator:selection().
selection(<<>>) -> all;
selection(<<"msg_", _/binary>> = Id) -> {id, Id};
selection(Reason) -> {reason, Reason}.

-spec none(binary(), non_neg_integer()) -> binary().
none(<<>>, 0) -> <<"There is none.">>;
none(_, 0) -> <<"There is none with such a reason.">>;
none(_, _) -> <<"There are no more.">>.

-spec filter(view(), binary()) -> element().
filter(#{root := Root}, Reason) ->
    %% The last field takes the slash that ejabberd puts at the end.
    el(<<"form">>, [{<<"method">>, <<"get">>}, {<<"action">>, dead(Root)}, {<<"class">>, <<"op-form">>}, {<<"role">>, <<"search">>}],
       [el(<<"label">>, [{<<"for">>, <<"op-which">>}], [text(<<"Reason begins with, or id">>)]),
        el(<<"input">>, [{<<"id">>, <<"op-which">>}, {<<"name">>, <<"which">>}, {<<"type">>, <<"text">>},
                         {<<"value">>, mod_offline_post_text:in_line(Reason)}, {<<"placeholder">>, <<"HTTP 4">>}], []),
        el(<<"button">>, [{<<"type">>, <<"submit">>}], [text(<<"Filter">>)])]
       ++ [anchor(dead(Root), [text(<<"Show all">>)]) || Reason =/= <<>>]
       ++ [hidden(<<"go">>, <<>>)]).

%% How many of each there are on this page: a first look at what is wrong.
-spec reasons(view(), [letter(), ...]) -> element().
reasons(View, Letters) ->
    Counts = lists:foldl(fun(#{reason := Reason}, Acc) -> maps:update_with(Reason, fun(N) -> N + 1 end, 1, Acc) end, #{}, Letters),
    el(<<"ul">>, [{<<"class">>, <<"op-reasons">>}, {<<"aria-label">>, <<"Reasons on this page">>}],
       [el(<<"li">>, [reason(View, Reason), text([": ", number(N)])])
        || {N, Reason} <- lists:reverse(lists:sort([{N, Reason} || {Reason, N} <- maps:to_list(Counts)]))]).

-spec reason(view(), binary()) -> html().
reason(#{root := Root}, Reason) -> anchor(url(dead(Root), [{<<"which">>, Reason}]), [foreign(Reason)]).

-spec bulk(view(), binary()) -> [html()].
bulk(#{may_change := false}, _) ->
    [];
bulk(#{root := Root, token := Token}, Reason) ->
    Which = case Reason of
                <<>> -> <<"all">>;
                _ -> <<"all that match">>
            end,
    [form(dead(Root), Token, [hidden(<<"which">>, Reason), button(<<"replay">>, <<>>, ["Replay ", Which]),
                              button(<<"ask">>, <<"op-danger">>, ["Drop ", Which, [16#2026]])])].

%% No text: it is between two people, and on a page of its own.
-spec letters(view(), [letter()]) -> element().
letters(View, Letters) ->
    table(<<"Dead letters">>,
          [<<"Given up">>, <<"Reason">>, <<"Recipient">>, <<"Sender">>]
          ++ [<<"To do">>, <<"Attempts">>, <<"Id">>],
          [row(View, Letter) || Letter <- Letters]).

-spec row(view(), letter()) -> [[html()]].
row(#{root := Root, now := Now} = View,
    #{id := Id, to := To, from := From, attempts := Attempts, died := Died, reason := Reason}) ->
    Show = labelled(anchor(one(Root, Id), [text(<<"Show">>)]), ["Show ", Id]),
    [[time(Now, Died), text([" (", age(Now, Died), " ago)"])], [reason(View, Reason)], [address(To)], [address(From)],
     [el(<<"div">>, [{<<"class">>, <<"op-row">>}], [Show | one_form(View, Id)])],
     [text(number(Attempts))], [el(<<"code">>, [foreign(Id)])]].

-spec one_form(view(), Id :: binary()) -> [html()].
one_form(#{may_change := false}, _Id) ->
    [];
one_form(#{root := Root, token := Token}, Id) ->
    [form(dead(Root), Token, [hidden(<<"id">>, Id),
                              labelled(button(<<"replay">>, <<>>, <<"Replay">>), ["Replay ", Id]),
                              labelled(button(<<"ask">>, <<"op-danger">>, ["Drop", [16#2026]]), ["Drop ", Id])])].

%% To which one it belongs must be heard, too.
-spec labelled(element(), iodata()) -> element().
labelled(#xmlel{name = Name, attrs = Attributes, children = Children}, Label) ->
    el(Name, [{<<"aria-label">>, mod_offline_post_text:in_line(iolist_to_binary(Label))} | Attributes], Children).

-spec address(mod_offline_post_nif:address()) -> element().
address(Address) -> foreign(mod_offline_post_commands:address(Address)).

-spec pages(view(), binary(), non_neg_integer(), pos_integer() | undefined) -> element().
pages(#{root := Root}, Reason, After, Next) ->
    Link = fun(From, Label) -> anchor(url(dead(Root), [{<<"which">>, Reason}, {<<"after">>, From}]), [text(Label)]) end,
    el(<<"p">>, [{<<"class">>, <<"op-pages">>}],
       [Link(<<>>, <<"First page">>) || After > 0] ++ [Link(integer_to_binary(Next), <<"Next page">>) || is_integer(Next)]).

%% Everything about one, its text included: to whoever asks for it.
-spec letter(view(), Id :: binary()) -> [html()].
letter(#{name := Name} = View, Id) ->
    case mod_offline_post_operator:dead_letter(Name, Id) of
        {ok, #{answer := Answer, body := Body} = Letter} ->
            [el(<<"dl">>, [{<<"class">>, <<"op-fields">>}],
                lists:append([[el(<<"dt">>, [text(string:replace(Key, "_", " ", all))]), el(<<"dd">>, [foreign(Value)])]
                              || {Key, Value} <- mod_offline_post_commands:fields(Letter), Key =/= "answer", Key =/= "body"])),
             heading(3, <<"The beginning of the last answer">>), block(Answer),
             heading(3, <<"The message's text">>), block(Body)]
                ++ one_form(View, Id);
        {error, Why} ->
            [failed(Why)]
    end.

-spec block(binary()) -> element().
block(<<>>) -> el(<<"p">>, [text(<<"It is empty.">>)]);
block(Text) -> preformatted(Text).

%%% Before and after

%% Id or Reason: which are to go.
-spec ask(view(), {id | reason, binary()}) -> [html()].
ask(#{root := Root, token := Token} = View, Which) ->
    Field = case Which of
                {id, Id} -> hidden(<<"id">>, Id);
                {reason, Reason} -> hidden(<<"which">>, Reason)
            end,
    [el(<<"div">>, [{<<"class">>, <<"op-note op-warn">>}],
        [heading(2, <<"Drop for good?">>),
         el(<<"p">>, question(View, Which)),
         form(dead(Root), Token, [Field, button(<<"drop">>, <<"op-danger">>, <<"Drop">>),
                                  anchor(dead(Root), [text(<<"Keep">>)])])])].

-spec question(view(), {id | reason, binary()}) -> [html()].
question(_View, {id, Id}) ->
    [text(<<"The dead letter ">>), el(<<"code">>, [foreign(Id)]), text(<<" will be thrown away; nobody will be notified of it.">>)];
question(#{name := Name}, {reason, Reason}) ->
    Count = case mod_offline_post_operator:dead_letters(Name, selection(Reason), 0, ?COUNTED) of
                {ok, Letters, undefined} -> number(length(Letters));
                {ok, Letters, _} -> <<"more than ", (number(length(Letters)))/binary>>;
                {error, _} -> <<"some">>
            end,
    Which = case Reason of
                <<>> -> [text(<<"All dead letters">>)];
                _ -> [text(<<"All dead letters whose reason begins with ">>), el(<<"strong">>, [foreign(Reason)])]
            end,
    Which ++ [text([", now ", Count, ", will be thrown away; nobody will be notified of them."])].

-spec replayed({id | reason, binary()}, {ok, non_neg_integer()} | {error, atom()}) -> {good | bad, [html()]}.
replayed(Which, Result) -> done(Which, Result, "pending again, behind what waits already.").

-spec dropped({id | reason, binary()}, {ok, non_neg_integer()} | {error, atom()}) -> {good | bad, [html()]}.
dropped(Which, Result) -> done(Which, Result, "dropped.").

-spec done({id | reason, binary()}, {ok, non_neg_integer()} | {error, atom()}, string()) -> {good | bad, [html()]}.
done({id, _}, {ok, 0}, _) -> {bad, [failed(not_found)]};
done(_, {ok, 1}, What) -> {good, [el(<<"p">>, [text(["1 dead letter is ", What])])]};
done(_, {ok, N}, What) -> {good, [el(<<"p">>, [text([number(N), " dead letters are ", What])])]};
done(_, {error, Why}, _) -> {bad, [failed(Why)]}.

-spec failed(unknown | not_found | timeout) -> element().
failed(Why) ->
    el(<<"p">>, [text(case Why of
                          unknown -> <<"The module does not run here; the log says why.">>;
                          not_found -> <<"There is no such dead letter (any more).">>;
                          timeout -> <<"No answer in time. What was begun goes on: look again in a while.">>
                      end)]).

-spec dead(binary()) -> binary().
dead(Root) -> <<Root/binary, "dead/">>.

-spec one(binary(), binary()) -> binary().
one(Root, Id) -> iolist_to_binary([dead(Root), uri_string:quote(Id), $/]).
