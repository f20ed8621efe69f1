// How the search ranks: Sphinx's own numbers, and first of all the page or section
// whose title contains what was asked for.
var Scorer = {
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
  score([, title, , , score]) {
    const words = new URLSearchParams(location.search).get("q") || "";
    const named = title.toLowerCase().includes(words.trim().toLowerCase());
    return score + (words && named ? 20 : 0);
  },
};
