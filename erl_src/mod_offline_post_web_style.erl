%% How our part of ejabberd's web admin looks. A page has no say in <head>, but a style sheet's <link> may stand in
%% <body>, too; where a Content-Security-Policy forbids it, the pages are plain and complete.
-module(mod_offline_post_web_style).

-export([elements/0]).

-import(mod_offline_post_web_html, [el/3]).

%% The viewport: ejabberd names none, and phones would show all of it in the size of ants.
-spec elements() -> [mod_offline_post_web_html:element()].
elements() ->
    [el(<<"link">>, [{<<"rel">>, <<"stylesheet">>}, {<<"href">>, <<"data:text/css;base64,", (base64:encode(css()))/binary>>}], []),
     el(<<"meta">>, [{<<"name">>, <<"viewport">>}, {<<"content">>, <<"width=device-width, initial-scale=1">>}], [])].

%% ejabberd's own has a body of 990 pixels at least, and a menu of 30 %.
-spec css() -> binary().
css() ->
    <<"body{min-width:0}"
      "@media(max-width:1000px){#navigation,#content{display:block;width:auto}#content{padding:12px}"
      "#container{display:flex;flex-direction:column}#navigation{order:1}#clearcopyright{order:2}#navigation ul{width:auto}.op h1{font-size:1.5em}}"
      "@media(min-width:1001px){.op{padding:0 24px 24px 0}}"
      ".op{color:#1b1f24;line-height:1.4;max-width:100%;overflow-wrap:anywhere}"
      ".op h1,.op h2,.op h3{text-align:left;color:#1b1f24}.op h3{padding-top:1.2em;font-size:1.1em}"
      ".op a{color:#0b5394;text-decoration:underline}"
      ".op a:focus-visible,.op button:focus-visible,.op input:focus-visible,.op summary:focus-visible,.op pre:focus-visible,"
      ".op-scroll:focus-visible{outline:3px solid #b45309;outline-offset:2px}"
      "#content .op ul{padding-left:0;margin:.5em 0}#content .op ul li{list-style:none}"
      "#content .op .op-tabs{display:flex;flex-wrap:wrap;gap:.25em;border-bottom:2px solid #424a55;margin:1em 0}"
      "#content .op .op-tabs li{padding:0}.op-tabs a{display:block;padding:.5em .9em;background:#e7eaee}"
      ".op-tabs a[aria-current]{background:#424a55;color:#fff;text-decoration:none}"
      ".op-verdict{border-left:.5em solid;padding:.7em 1em;margin:1em 0;background:#fff}"
      ".op-verdict p{margin:.2em 0}.op-word{font-size:1.35em;font-weight:bold}"
      ".op-verdict.op-good{border-color:#0b6e4f}.op-verdict.op-warn{border-color:#b45309}.op-verdict.op-bad{border-color:#b3261e}"
      ".op-good .op-word,.op-state.op-good{color:#0b6e4f}.op-warn .op-word{color:#8a3f04}.op-bad .op-word,.op-state.op-bad{color:#b3261e}"
      ".op-state{font-weight:bold;white-space:nowrap}"
      ".op-note{border:2px solid #1f4e8c;background:#eef4fb;padding:.7em 1em;margin:1em 0}"
      ".op-note.op-warn{border-color:#b45309;background:#fff6e5}.op-note.op-bad{border-color:#b3261e;background:#fdf0ef}"
      ".op-note.op-good{border-color:#0b6e4f;background:#eef8f3}.op-note p{margin:.3em 0}.op-note h2,.op-note h3{padding-top:.4em;font-size:1em}"
      ".op-figures,.op-counters{display:grid;grid-template-columns:repeat(auto-fill,minmax(130px,1fr));gap:.5em;margin:1em 0}"
      ".op-figures>div{background:#fff;padding:.6em .8em}.op-figures dd{margin:0}.op-figures dt{color:#55606b}"
      ".op-figures strong{display:block;font-size:1.5em}.op-figures span{font-size:.8em;color:#55606b}"
      ".op-counters>div{background:#fff;padding:.3em .8em}.op-counters dd{margin:0;font-weight:bold}.op-counters dt{color:#55606b;font-size:.85em}"
      ".op-form{display:flex;flex-wrap:wrap;gap:.5em;align-items:center;margin:.5em 0}"
      ".op-actions{display:flex;flex-wrap:wrap;gap:.3em 2em}.op input{width:auto;min-width:0}"
      ".op button,.op input{font:inherit;padding:.45em .9em;min-height:2.4em;box-sizing:border-box;max-width:100%}"
      ".op button{background:#fff;border:1px solid #424a55;border-radius:3px;color:#1b1f24;cursor:pointer}.op button:hover{background:#e7eaee}"
      ".op button.op-main{background:#0b5394;border-color:#0b5394;color:#fff}.op button.op-danger{border-color:#b3261e;color:#b3261e}"
      ".op-scroll{overflow-x:auto;background:#fff}.op table{border-collapse:collapse;margin:0;min-width:100%;font-size:.85em}"
      ".op th{text-align:left;border-bottom:2px solid #424a55;white-space:nowrap}.op th,.op td{padding:.4em .7em;vertical-align:top}"
      ".op td{overflow-wrap:normal}.op td time,.op td code{white-space:nowrap}.op td .op-form{flex-wrap:nowrap;margin:0}.op-row{display:flex;gap:.6em;align-items:center}"
      ".op td button{padding:.15em .6em;min-height:24px;white-space:nowrap}.op code{font-size:1em}.op td bdi{display:inline-block;max-width:24em;overflow-wrap:anywhere}"
      ".op table tr:nth-child(even) td{background:#f4f6f8}"
      ".op-plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(320px,100%),1fr));gap:1em}"
      ".op-plot{margin:0;background:#fff;padding:.7em}.op-plot svg{display:block;width:100%;height:auto}.op-legend svg{display:inline-block;width:14px;margin-right:.4em}"
      ".op figcaption{font-weight:bold}#content .op .op-legend,#content .op .op-reasons{display:flex;flex-wrap:wrap;gap:.2em 1.2em}"
      "#content .op .op-legend li,#content .op .op-reasons li{padding:0;font-size:.9em}"
      ".op summary{cursor:pointer;padding:.3em 0}.op pre{background:#fff;border:1px solid #c9ced6;padding:.7em;max-height:20em;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere;margin:.5em 0}"
      ".op-fields{display:grid;grid-template-columns:minmax(6em,max-content) 1fr;gap:.3em 1em;background:#fff;padding:.8em}.op-fields dt{color:#55606b}.op-fields dd{margin:0;min-width:0}"
      ".op-pages{display:flex;gap:1em}.op-foot{color:#55606b;font-size:.85em}">>.
