// Order of the search results: the pages of the library and the list of changes come after all others. The numbers are
// those of Sphinx.
var Scorer = {
  score: ([page, , , , score]) => (/^book\/(api|versions)/.test(page) ? score - 1000 : score),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
