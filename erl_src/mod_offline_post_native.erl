%% Where a question is allowed to find no native library.
-module(mod_offline_post_native).

-export([ask/2]).

%% Otherwise: the answer where nothing native is loaded, or a library that does not know the question yet.
-spec ask(fun(() -> Answer), Otherwise) -> Answer | Otherwise.
ask(Ask, Otherwise) ->
    try Ask()
    catch error:Reason when Reason =:= not_loaded; Reason =:= undef -> Otherwise
    end.
